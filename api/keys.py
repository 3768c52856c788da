"""API keys and one-time tokens: their form, and the keyed hashes by which they are stored.

A key is its role's prefix, 27 random characters of base62 (160 bits), and six characters of CRC32 over all before
them, so that a mistyped key, or another service's, is known for one without asking the database.
"""

import hmac
import re
import secrets
import zlib

from engine.runtime import Secrets
from engine.store.credentials import KeyRole

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS = 27
_TAIL_CHARS = 6
_KEY = re.compile(r"[a-z]{2,8}_[a-z]{2,3}_[0-9A-Za-z]{33}", re.ASCII)
_TOKEN = re.compile(r"[0-9A-Za-z_-]{43}", re.ASCII)

STAFF_PREFIXES: dict[KeyRole, str] = {
    "service": "purser_svc_",
    "support": "purser_sup_",
    "approver": "purser_apr_",
    "admin": "purser_adm_",
    "auditor": "purser_aud_",
}
"""Prefixes of the operator's keys; an account key has the catalogue's."""


def new_key(prefix: str) -> str:
    """A fresh key."""
    start = prefix + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_CHARS))
    return start + _tail(start)


def derived_key(prefix: str, salt: str, secret: bytes) -> str:
    """The key that this salt and secret make: who keeps the salt alone has nothing."""
    number = int.from_bytes(hmac.digest(secret, salt.encode(), "sha256"))
    body = ""
    for _ in range(_RANDOM_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        body += _ALPHABET[digit]
    start = prefix + body
    return start + _tail(start)


def is_key(text: str) -> bool:
    """Whether the text has a key's form, tail included; it says nothing about whether the key exists."""
    return _KEY.fullmatch(text) is not None and _tail(text[:-_TAIL_CHARS]) == text[-_TAIL_CHARS:]


def new_token() -> str:
    """256 random bits for a one-time link or a browser session, safe in URLs."""
    return secrets.token_urlsafe(32)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def hashes_of(secret: str, keys: Secrets) -> tuple[str, ...]:
    """HMAC-SHA256 of a key or token under each of the operator's secrets; the first is what is stored."""
    return tuple(hmac.digest(key, secret.encode(), "sha256").hex() for key in keys.all_for("credentials"))


def _tail(start: str) -> str:
    number = zlib.crc32(start.encode())
    tail = ""
    for _ in range(_TAIL_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        tail = _ALPHABET[digit] + tail
    return tail
