"""Tokens of an OIDC issuer: a JWT becomes the issuer's name for a person, or is refused.

What is believed: a signature by a key of the configured JWKS address (never one that a token names itself), with one
of the `ALGORITHMS`; the issuer, the audience (or Cognito's `client_id`, where `token_use` is `access`), and the time.
An id token is no access token: it is believed only from the issuer itself, in answer to a sign-in of this service, and
with that sign-in's nonce (`api/sign_in.py`). Nothing here knows accounts: whom the host bound to (issuer, subject) is
asked elsewhere.
"""

import hmac
import json
import re
import threading
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import jwt
import structlog

from engine.clock import monotonic, real_now
from engine.rules.errors import Unauthenticated, Unavailable

ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"})
"""Signatures with a private key of the issuer's; nothing that the public key, or nobody's, could make."""

TOKEN_CHARS_MAX = 8 * 1024
LEEWAY_SECONDS = 30
AGE_SECONDS_MAX = 24 * 60 * 60 * 366
SUBJECT_CHARS_MAX = 255
RSA_BITS_MIN = 2_048
JWKS_BYTES_MAX = 256 * 1024
JWKS_KEYS_MAX = 100
JWKS_SECONDS = 3_600.0
"""How long keys are used before they are asked for again; when the issuer does not answer, the old ones stay."""
REFETCH_SECONDS = 60.0
"""An unknown key id asks again, but not more often than this."""
FETCH_TIMEOUT = httpx.Timeout(5.0)
TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
ID_TOKEN_TYPES = frozenset({"jwt"})
ONLY_IN_ID_TOKENS = frozenset({"nonce", "at_hash", "c_hash"})
_JWT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+", re.ASCII)
_REFUSED = "This session token is not valid here."
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Whose tokens are believed, meant for whom, and where the issuer's keys stand.

    With `client_id` customers may sign in to the pages at this issuer; a public client has no secret.
    """

    issuer: str
    audience: str
    jwks_url: str
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Person:
    """Whom a token speaks for, in the issuer's words, and until when."""

    issuer: str
    subject: str
    ends_at: datetime


def is_session_token(text: str) -> bool:
    """Whether the text has the form of a JWT and a size that is worth a look."""
    return len(text) <= TOKEN_CHARS_MAX and _JWT.fullmatch(text) is not None


class TokenReader:
    """Reads the tokens of one issuer; its keys are fetched when they are first needed. Blocks; safe in threads."""

    def __init__(self, settings: OidcSettings, tick: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._keys = _Keys(settings.jwks_url, tick)

    def read(self, token: str) -> Person:
        """Whom the token speaks for; `Unauthenticated` if it is not to be believed, `Unavailable` without keys."""
        claims = self._signed(token, TYPES)
        self._check_meaning(claims)
        return Person(self._settings.issuer, _subject(claims), _checked_end(claims))

    def read_id_token(self, token: str, nonce: str) -> Person:
        """Who signed in, by the id token that the issuer gave for the sign-in with this nonce; else the same."""
        claims = self._signed(token, ID_TOKEN_TYPES)
        self._check_sign_in(claims, nonce)
        return Person(self._settings.issuer, _subject(claims), _checked_end(claims))

    def _signed(self, token: str, types: frozenset[str]) -> dict[str, Any]:
        """The claims of a token of these types that one of the issuer's keys signed: the issuer's own word."""
        header, claims = _unverified(token)
        algorithm, key_id = _signature_of(header, types)
        key = self._keys.find(key_id, algorithm)
        try:
            jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                options={"verify_aud": False, "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(_REFUSED) from error
        return claims

    def _check_meaning(self, claims: dict[str, Any]) -> None:
        """Refuse another issuer's token, one for another audience, and one that is no access token."""
        settings = self._settings
        if claims.get("iss") != settings.issuer or ONLY_IN_ID_TOKENS & claims.keys():
            raise Unauthenticated(_REFUSED)
        audience = claims.get("aud", [])
        meant_for = audience if isinstance(audience, list) else [audience]
        purpose = claims.get("token_use")
        if purpose is not None:
            if purpose != "access":
                raise Unauthenticated("An access token is needed, not an id token.")
            meant_for = [*meant_for, claims.get("client_id")]
        if settings.audience not in meant_for:
            raise Unauthenticated(_REFUSED)

    def _check_sign_in(self, claims: dict[str, Any], nonce: str) -> None:
        """Refuse another issuer's id token, one for another client, and one for another sign-in than this."""
        client_id, audience, shown = self._settings.client_id, claims.get("aud"), claims.get("nonce")
        meant_for = audience if isinstance(audience, list) else [audience]
        party = claims.get("azp", client_id if len(meant_for) == 1 else None)
        is_ours = client_id is not None and client_id in meant_for and party == client_id
        if claims.get("iss") != self._settings.issuer or not is_ours or claims.get("token_use", "id") != "id":
            raise Unauthenticated(_REFUSED)
        if not isinstance(shown, str) or not hmac.compare_digest(shown.encode(), nonce.encode()):
            raise Unauthenticated(_REFUSED)


class _Keys:
    """The issuer's public keys by id, fetched at most as often as this module says."""

    def __init__(self, url: str, tick: Callable[[], float]) -> None:
        self._url = url
        self._tick = tick
        self._found: dict[str, dict[str, Any]] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._lock = threading.Lock()

    def find(self, key_id: str, algorithm: str) -> jwt.PyJWK:
        """The key of this id as one for this algorithm."""
        with self._lock:
            if self._is_due(key_id):
                self._fetch()
            if not self._found:
                raise Unavailable("The issuer of session tokens does not answer; try again.")
            found = self._found.get(key_id)
        if found is None:
            raise Unauthenticated(_REFUSED)
        return _public_key(found, algorithm)

    def _is_due(self, key_id: str) -> bool:
        now = self._tick()
        if self._tried_at is not None and now - self._tried_at < REFETCH_SECONDS and self._found:
            return False
        if self._tried_at is not None and not self._found:
            return now - self._tried_at >= 1.0
        return self._fetched_at is None or key_id not in self._found or now - self._fetched_at >= JWKS_SECONDS

    def _fetch(self) -> None:
        self._tried_at = self._tick()
        try:
            self._found = _keys_in(download(self._url))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning("the issuer's keys can't be fetched", error=type(error).__name__)
            return
        self._fetched_at = self._tried_at


def download(url: str) -> bytes:
    """What stands at the address, of a bounded size; `ValueError` for anything but that. No redirect is followed."""
    with (
        httpx.Client(timeout=FETCH_TIMEOUT, follow_redirects=False, trust_env=False) as client,
        client.stream("GET", url, headers={"accept": "application/json"}) as response,
    ):
        if response.status_code != 200:
            raise ValueError(f"status {response.status_code}")
        body = b""
        for part in response.iter_bytes():
            body += part
            if len(body) > JWKS_BYTES_MAX:
                raise ValueError("too large")
        return body


def _keys_in(body: bytes) -> dict[str, dict[str, Any]]:
    document = json.loads(body, object_pairs_hook=unique_names)
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list) or len(listed) > JWKS_KEYS_MAX:
        raise ValueError("no key set")
    return {
        key["kid"]: key
        for key in listed
        if isinstance(key, dict) and isinstance(key.get("kid"), str) and key.get("kty") in ("RSA", "EC", "OKP")
    }


def _public_key(found: dict[str, Any], algorithm: str) -> jwt.PyJWK:
    """The key for this algorithm, unless it says that it is for another, or for no signatures, or is too short."""
    if found.get("use", "sig") != "sig" or found.get("alg", algorithm) != algorithm:
        raise Unauthenticated(_REFUSED)
    try:
        key = jwt.PyJWK(found, algorithm=algorithm)
    except jwt.PyJWTError as error:
        raise Unauthenticated(_REFUSED) from error
    if getattr(key.key, "key_size", RSA_BITS_MIN) < RSA_BITS_MIN and found["kty"] == "RSA":
        raise Unauthenticated(_REFUSED)
    return key


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A token's header and claims; of an object that names something twice nobody knows what it says."""
    if not is_session_token(token):
        raise Unauthenticated(_REFUSED)
    try:
        header, claims = (
            json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)), object_pairs_hook=unique_names)
            for part in token.split(".")[:2]
        )
    except (ValueError, Base64Error, RecursionError) as error:
        raise Unauthenticated(_REFUSED) from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise Unauthenticated(_REFUSED)
    return header, claims


def unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of JSON whose names are all different; else `ValueError`."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _signature_of(header: dict[str, Any], types: frozenset[str]) -> tuple[str, str]:
    """The algorithm and the key's id. Keys or addresses of keys in a header are never looked at."""
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
    if algorithm not in ALGORITHMS or not isinstance(key_id, str) or "crit" in header or "b64" in header:
        raise Unauthenticated(_REFUSED)
    if not isinstance(kind, str) or kind.lower() not in types:
        raise Unauthenticated(_REFUSED)
    return algorithm, key_id


def _subject(claims: dict[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX or not subject.isprintable():
        raise Unauthenticated(_REFUSED)
    return subject


def _checked_end(claims: dict[str, Any]) -> datetime:
    """When the token ends; refused if that is over, or if it begins or was made later than now."""
    now = int(real_now().timestamp())
    ends, made, begins = (
        _instant(claims.get(name, missing)) for name, missing in (("exp", None), ("iat", None), ("nbf", 0))
    )
    if now >= ends + LEEWAY_SECONDS:
        raise Unauthenticated("This session token has ended.")
    if begins > now + LEEWAY_SECONDS or made > now + LEEWAY_SECONDS or ends > now + AGE_SECONDS_MAX:
        raise Unauthenticated(_REFUSED)
    return datetime.fromtimestamp(ends + LEEWAY_SECONDS, UTC)


def _instant(value: object) -> int:
    """Whole seconds since 1970; refused if it is no number of them."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise Unauthenticated(_REFUSED)
    return int(value)
