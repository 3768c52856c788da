"""Signing in at the OIDC issuer: an attempt bound to one browser, the way to the issuer, and the code it answers with.

The authorization code flow with PKCE. An attempt is 256 random bits in a short signed cookie; `state`, `nonce` and the
code's verifier are made from them with the operator's secret, so that neither the cookie nor the address bar alone
says all of them, and an answer that was meant for another browser fits nothing here. Whom the issuer names is decided
by its id token alone (`TokenReader.read_id_token`).
"""

import hmac
import json
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import structlog

from api.keys import new_token
from api.oidc import JWKS_BYTES_MAX, OidcSettings, Person, TokenReader, download, unique_names
from api.provider_settings import LOOPBACK
from engine.clock import monotonic
from engine.rules.errors import Unauthenticated, Unavailable

PATH = "/account/sign-in"
CALLBACK_PATH = f"{PATH}/callback"
ATTEMPT_LIFE = timedelta(minutes=10)
PURPOSE = "sign-in"
COOKIE_CHARS_MAX = 2_000
CODE_CHARS_MAX = 3_000
DISCOVERY_SECONDS = 3_600.0
"""How long the issuer's document is used before it is asked for again; if it does not answer, the old one stays."""
RETRY_SECONDS = 1.0
STALE_RETRY_SECONDS = 60.0
TOKEN_TIMEOUT = httpx.Timeout(10.0)
_SILENT = "The sign-in provider does not answer; try again."
_REFUSED = "The sign-in provider refused this sign-in."
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sign-in of one browser: what the issuer is told, what must come back, and where the customer was going."""

    seed: str
    key: bytes
    return_to: str
    ends_at: datetime

    @property
    def state(self) -> str:
        return self._made("state")

    @property
    def nonce(self) -> str:
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        """The code's verifier of RFC 7636: 43 characters; the issuer is first shown only its hash."""
        return self._made("verifier")

    @property
    def challenge(self) -> str:
        return _base64(sha256(self.verifier.encode()).digest())

    def cookie(self) -> str:
        """The attempt as its browser keeps it: readable, and of no use to anybody who cannot sign."""
        told = {"seed": self.seed, "to": self.return_to, "ends": int(self.ends_at.timestamp())}
        text = _base64(json.dumps(told).encode())
        return f"{text}.{_base64(hmac.digest(self.key, text.encode(), 'sha256'))}"

    def _made(self, what: str) -> str:
        return _base64(hmac.digest(self.key, f"{what} of {self.seed}".encode(), "sha256"))


def new_attempt(key: bytes, return_to: str, now: datetime) -> Attempt:
    """A sign-in that begins now and leads to this path of ours."""
    return Attempt(new_token(), key, return_to, (now + ATTEMPT_LIFE).replace(microsecond=0))


def attempt_in(cookie: str, keys: Sequence[bytes], now: datetime) -> Attempt | None:
    """The attempt in a cookie that one of the keys signed and whose time is not over."""
    text, _, signature = cookie.partition(".")
    if len(cookie) > COOKIE_CHARS_MAX or not cookie.isascii():
        return None
    for key in keys:
        if hmac.compare_digest(signature, _base64(hmac.digest(key, text.encode(), "sha256"))):
            told = json.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
            ends_at = datetime.fromtimestamp(told["ends"], now.tzinfo)
            return Attempt(told["seed"], key, told["to"], ends_at) if now < ends_at else None
    return None


@dataclass(frozen=True, slots=True)
class Directory:
    """What the issuer's discovery document says that matters here."""

    authorize_url: str
    token_url: str
    leave_url: str | None
    posts_secret: bool
    names_itself: bool


class SignIn:
    """One issuer's sign-in for one client of it; its discovery document is kept. Blocks; safe in threads."""

    def __init__(
        self, settings: OidcSettings, tokens: TokenReader, redirect_url: str, tick: Callable[[], float] = monotonic
    ) -> None:
        assert settings.client_id is not None, "without a client there is no sign-in"
        self._settings = settings
        self._client_id = settings.client_id
        self._tokens = tokens
        self._redirect_url = redirect_url
        self._tick = tick
        self._found: Directory | None = None
        self._due_at: float | None = None
        self._lock = threading.Lock()

    @property
    def leave_url(self) -> str | None:
        """Where the customer signs out of the issuer too, if it is known by now that there is such an address."""
        found = self._found
        if found is None or found.leave_url is None:
            return None
        return _with_query(found.leave_url, {"client_id": self._client_id})

    def url(self, attempt: Attempt) -> str:
        """Where the customer signs in; `Unavailable` if the issuer never told."""
        asked = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_url,
            "scope": "openid",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": attempt.challenge,
            "code_challenge_method": "S256",
        }
        return _with_query(self._directory().authorize_url, asked)

    def is_from_issuer(self, issuer: str | None) -> bool:
        """Whether an answer's `iss` (RFC 9207) is this issuer's; it may be missing where the issuer sends none."""
        return not self._directory().names_itself if issuer is None else issuer == self._settings.issuer

    def person(self, code: str, attempt: Attempt) -> Person:
        """Whom the code stands for; `Unauthenticated` if the issuer or its token says no, `Unavailable` if neither."""
        if not 0 < len(code) <= CODE_CHARS_MAX or not code.isprintable():
            raise Unauthenticated(_REFUSED)
        status, told = self._ask_token(code, attempt)
        if status == 200 and isinstance(told.get("id_token"), str):
            return self._tokens.read_id_token(told["id_token"], attempt.nonce)
        problem = told.get("error")
        if status in (400, 401, 403) and problem == "invalid_grant":
            raise Unauthenticated(_REFUSED)
        log.error("the sign-in provider gave no id token", status=status, problem=str(problem)[:100])
        raise Unavailable(_SILENT)

    def _ask_token(self, code: str, attempt: Attempt) -> tuple[int, dict[str, Any]]:
        """The issuer's answer to a code: its status and its object, empty if it is none."""
        directory, secret = self._directory(), self._settings.client_secret
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._redirect_url,
            "code_verifier": attempt.verifier,
        }
        headers = {"accept": "application/json"}
        if secret is None or directory.posts_secret:
            form |= {"client_id": self._client_id} | ({} if secret is None else {"client_secret": secret})
        else:
            pair = f"{quote(self._client_id, safe='')}:{quote(secret, safe='')}"
            headers["authorization"] = f"Basic {urlsafe_b64encode(pair.encode()).decode()}"
        try:
            with httpx.Client(timeout=TOKEN_TIMEOUT, follow_redirects=False, trust_env=False) as client:
                return _object_of(client, directory.token_url, form, headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            log.warning("the sign-in provider does not answer", error=type(error).__name__)
            raise Unavailable(_SILENT) from error

    def _directory(self) -> Directory:
        with self._lock:
            now = self._tick()
            if self._due_at is None or now >= self._due_at:
                self._due_at = now + self._fetch()
            if self._found is None:
                raise Unavailable(_SILENT)
            return self._found

    def _fetch(self) -> float:
        """Ask for the document; after how many seconds to ask again."""
        url = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        try:
            self._found = _directory_in(download(url), self._settings.issuer)
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            log.warning(
                "the sign-in provider can't be discovered", error=type(error).__name__, problem=str(error)[:200]
            )
            return RETRY_SECONDS if self._found is None else STALE_RETRY_SECONDS
        return DISCOVERY_SECONDS


def _object_of(
    client: httpx.Client, url: str, form: dict[str, str], headers: dict[str, str]
) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of an answer of bounded size."""
    with client.stream("POST", url, data=form, headers=headers) as response:
        body = b""
        for part in response.iter_bytes():
            body += part
            if len(body) > JWKS_BYTES_MAX:
                return response.status_code, {}
    try:
        told = json.loads(body, object_pairs_hook=unique_names)
    except (ValueError, RecursionError):
        return response.status_code, {}
    return response.status_code, told if isinstance(told, dict) else {}


def _directory_in(body: bytes, issuer: str) -> Directory:
    """The document of this issuer; `ValueError` if it is another's, or leads to where no secret should go."""
    told = json.loads(body, object_pairs_hook=unique_names)
    if not isinstance(told, dict) or told.get("issuer") != issuer:
        raise ValueError("the document names another issuer")
    leave_url = told.get("end_session_endpoint")
    methods = told.get("token_endpoint_auth_methods_supported")
    listed = methods if isinstance(methods, list) else ["client_secret_basic"]
    return Directory(
        authorize_url=_endpoint(told.get("authorization_endpoint")),
        token_url=_endpoint(told.get("token_endpoint")),
        leave_url=None if leave_url is None else _endpoint(leave_url),
        posts_secret="client_secret_post" in listed and "client_secret_basic" not in listed,
        names_itself=told.get("authorization_response_iss_parameter_supported") is True,
    )


def _endpoint(url: object) -> str:
    parts = urlsplit(url if isinstance(url, str) else "")
    is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    if not is_safe or not parts.hostname or "@" in parts.netloc or parts.fragment:
        raise ValueError("the document leads to an address that is not https")
    return str(url)


def _with_query(url: str, values: dict[str, str]) -> str:
    return f"{url}{'&' if urlsplit(url).query else '?'}{urlencode(values)}"


def _base64(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
