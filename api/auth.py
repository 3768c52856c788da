"""Who is asking, and what they may do: bearer keys, session tokens, portal cookies, and who may what as data.

A verified key is remembered in this process for `REMEMBER_SECONDS`, so that a spend pays no database read for it.
Revoking through `Keyring.revoke` forgets it here in the same step, a lookup that is under way included: the next
request is refused. Another process on the same database notices within `REMEMBER_SECONDS`.
"""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from secrets import token_bytes
from typing import Literal
from urllib.parse import urlsplit

from api.keys import STAFF_PREFIXES, hashes_of, is_key, is_token, new_key
from api.oidc import TokenReader, is_session_token
from api.plain import AnyRequest
from api.rates import Rates, RateSettings
from engine.clock import monotonic, new_id, real_now
from engine.rules.errors import Forbidden, Unauthenticated
from engine.rules.return_urls import origin_of
from engine.runtime import Runtime
from engine.store import credentials, identities
from engine.store.credentials import Credential, KeyRole
from engine.store.database import reading, transact
from engine.store.tables import CredentialRow

Role = Literal["account", "owner", "member", "service", "support", "approver", "admin", "auditor"]
Action = Literal["read", "buy", "settings.read", "settings.write", "wallet", "support", "approve", "admin", "audit"]

_STAFF: frozenset[Role] = frozenset({"support", "approver", "admin"})
_OF_ACCOUNT: frozenset[Role] = frozenset({"account", "owner", "member"})

MATRIX: dict[Action, frozenset[Role]] = {
    "read": _OF_ACCOUNT | _STAFF | {"service", "auditor"},
    "buy": frozenset({"account", "owner", "service"}),
    "settings.read": _OF_ACCOUNT | {"service"},
    "settings.write": frozenset({"owner", "service"}),
    "wallet": frozenset({"service"}),
    "support": _STAFF,
    "approve": frozenset({"approver", "admin"}),
    "admin": frozenset({"admin"}),
    "audit": frozenset({"admin", "auditor"}),
}
"""Which roles may do what. `wallet`: spend, hold, grant, reverse, open accounts and portal sessions."""

REMEMBER_SECONDS = 5.0
LAST_USED_STEP = timedelta(minutes=1)
REMEMBERED_MAX = 10_000
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
NO_KEY = "The Authorization header holds no key of this service."
Shown = Literal["key", "token", "cookie"]


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from. `account_id` binds it to one account; `None` is the operator's side.

    `scopes` narrows what the role may do; `None` does not. `is_session`: a browser or an app with a session token.
    """

    role: Role
    credential_id: str
    name: str
    account_id: str | None
    scopes: frozenset[str] | None = None
    is_session: bool = False

    @property
    def actor(self) -> str:
        """As the ledger and the audit log name them: `service:NAME`, `support:NAME`, `account:KEYID`, `owner:ID`."""
        return f"{self.role}:{self.credential_id if self.account_id else self.name}"

    def may(self, action: Action) -> bool:
        """Whether the matrix allows it, and the scopes leave it."""
        return self.role in MATRIX[action] and (self.scopes is None or action in self.scopes)

    def check_may(self, action: Action) -> None:
        """Raise `Forbidden` unless it may."""
        if not self.may(action):
            raise Forbidden("This credential may not do that.")


@dataclass(frozen=True, slots=True)
class _Remembered:
    """What was found, for how long it is believed, and when it ends: a session in real time, a key in the engine's."""

    principal: Principal
    until: float
    session_ends_at: datetime | None
    key_ends_at: datetime | None = None

    def is_fresh(self, runtime: Runtime) -> bool:
        return (
            self.until > monotonic()
            and (self.session_ends_at is None or self.session_ends_at > real_now())
            and (self.key_ends_at is None or self.key_ends_at > runtime.clock.now())
        )


class Keyring:
    """Turns what a request shows into a principal. One per process.

    Keys are remembered under a fast hash with a key of this process, never as they are.
    """

    def __init__(self, runtime: Runtime, tokens: TokenReader | None = None, rates: Rates | None = None) -> None:
        self._runtime = runtime
        self._tokens = tokens
        self.rates = rates or Rates(RateSettings())
        self._good: set[bytes] = set()
        self._remembered: dict[bytes, _Remembered] = {}
        self._process_key = token_bytes(32)
        self._revocations = 0
        self._lock = threading.Lock()
        self._origin = origin_of(runtime.base_url)
        self.cookie_name = "__Host-purser" if runtime.base_url.startswith("https://") else "purser"

    async def principal_of(self, request: AnyRequest) -> Principal:
        """The bearer's principal, else the portal cookie's; `Unauthenticated` without either, `RateLimited` if it asks
        too often.

        A cookie comes with every request a browser makes, so methods that change something also need an `Origin`
        (or `Referer`) of our own, else `Forbidden`.
        """
        shown = request.headers.getall("authorization", [])
        if shown:
            scheme, _, key = shown[0].partition(" ")
            if len(shown) > 1 or scheme.lower() != "bearer":
                raise Unauthenticated(NO_KEY)
            key = key.strip()
            name = self._name_of(key, b"bearer")
            principal = self._remembered_as(name)
            if principal is None:
                form = self._form_of(key)
                if form is None:
                    raise Unauthenticated(NO_KEY)
                principal = await self._found(key, form, name, request)
            return self._counted(request, principal)
        token = request.cookies.get(self.cookie_name, "")
        if not is_token(token):
            raise Unauthenticated("A key is needed: Authorization: Bearer KEY.")
        name = self._name_of(token, b"cookie")
        known = self._remembered_as(name) or await self._found(token, "cookie", name, request)
        principal = self._counted(request, known)
        if request.method not in SAFE_METHODS:
            self.check_origin(request)
        return principal

    async def principal_of_key(self, key: str) -> Principal:
        """Whom a key stands for that somebody else was shown; `Unauthenticated` if it is none of ours."""
        if not is_key(key):
            raise Unauthenticated("This is no key of this service.")
        name = self._name_of(key, b"bearer")
        return self._remembered_as(name) or await self._found(key, "key", name, None)

    def _form_of(self, text: str) -> Shown | None:
        if is_key(text):
            return "key"
        return "token" if self._tokens is not None and is_session_token(text) else None

    def _counted(self, request: AnyRequest, principal: Principal) -> Principal:
        """Count this request against the credential's quota; staff with a key have none."""
        if principal.account_id is not None or principal.is_session:
            self.rates.count(request, principal.credential_id, is_host=False)
        elif principal.role == "service":
            self.rates.count(request, principal.credential_id, is_host=True)
        return principal

    def check_origin(self, request: AnyRequest) -> None:
        """Raise `Forbidden` unless the request comes from one of our own pages."""
        source = request.headers.get("origin") or request.headers.get("referer") or ""
        try:
            is_ours = origin_of(source) == self._origin and "@" not in urlsplit(source).netloc
        except ValueError:
            is_ours = False
        if not is_ours:
            raise Forbidden("A browser session may change things only from this service's own pages.")

    def _name_of(self, secret: str, shown_as: bytes) -> bytes:
        """Under what a secret is remembered: a cookie's is never a bearer's."""
        return blake2b(secret.encode(), key=self._process_key, digest_size=32, person=shown_as).digest()

    def _remembered_as(self, name: bytes) -> Principal | None:
        """Whom a secret stands for if that is still believed; then its form needs no second look."""
        seen = self._remembered.get(name)
        return seen.principal if seen is not None and seen.is_fresh(self._runtime) else None

    async def _found(self, secret: str, form: Shown, name: bytes, request: AnyRequest | None) -> Principal:
        """Whom a secret stands for. One that never was right here counts as a try of the request's address first."""
        tries = None if name in self._good else request
        if tries is not None:
            self.rates.count_try(tries)
        revocations = self._revocations
        found = await asyncio.to_thread(self._look_up, secret, form)
        if found is None:
            raise Unauthenticated("This key or session is unknown, revoked or over.")
        if tries is not None:
            self.rates.forgive_try(tries)
        self._remember(name, found, revocations)
        return found.principal

    def _look_up(self, secret: str, form: Shown) -> _Remembered | None:
        if form == "token":
            return self._person(secret)
        hashes = hashes_of(secret, self._runtime.secrets)
        return self._session(hashes) if form == "cookie" else self._key(hashes)

    def _session(self, hashes: tuple[str, ...]) -> _Remembered | None:
        until = monotonic() + REMEMBER_SECONDS
        with reading(self._runtime.db) as session:
            portal = credentials.find_portal_session(session, hashes, real_now(), self._runtime.clock.now())
            if portal is None:
                return None
            scopes = credentials.scopes_of(session, portal.credential_id)
        name = f"portal-{portal.token_hash[:12]}"
        if portal.account_id is not None and portal.credential_id is not None:
            name = portal.credential_id
        who = Principal(_role(portal.role), name, portal.subject, portal.account_id, _scopes(scopes), is_session=True)
        return _Remembered(who, until, portal.expires_at)

    def _key(self, hashes: tuple[str, ...]) -> _Remembered | None:
        until = monotonic() + REMEMBER_SECONDS
        with reading(self._runtime.db) as session:
            row = credentials.find_credential(session, hashes, self._runtime.clock.now())
        if row is None:
            return None
        if row.role == "account":
            self._note_use(row)
        who = Principal(_role(row.role), row.credential_id, row.name, row.account_id, _scopes(row.scopes))
        return _Remembered(who, until, None, row.expires_at)

    def _person(self, token: str) -> _Remembered | None:
        """Whom the host bound to the issuer's name for a token's holder: never by anything else that a token says."""
        assert self._tokens is not None, "without an issuer no text has a token's form"
        until = monotonic() + REMEMBER_SECONDS
        person = self._tokens.read(token)
        with reading(self._runtime.db) as session:
            row = identities.find_identity(session, person.issuer, person.subject)
        if row is None:
            return None
        who = Principal(_role(row.role), row.identity_id, row.subject, row.account_id, is_session=True)
        return _Remembered(who, until, person.ends_at)

    def _note_use(self, row: CredentialRow) -> None:
        """Keep when an account's key was last used, to the minute: a write a minute, however busy it is."""
        now = self._runtime.clock.now()
        if row.last_used_at is None or now - row.last_used_at >= LAST_USED_STEP:
            transact(self._runtime.db, lambda session: credentials.note_use(session, row.credential_id, now))

    def _remember(self, name: bytes, found: _Remembered, revocations: int) -> None:
        """Keep what was found, unless something was revoked since the look-up began."""
        with self._lock:
            if revocations != self._revocations:
                return
            if len(self._remembered) >= REMEMBERED_MAX:
                self._remembered.clear()
            if len(self._good) >= REMEMBERED_MAX:
                self._good.clear()
            self._good.add(name)
            self._remembered[name] = found

    def revoke(self, credential_id: str, account_id: str | None = None) -> bool:
        """End a key at once; with `account_id` only if it is that account's. Whether it worked until now. Blocks."""
        now = self._runtime.clock.now()
        ended = transact(
            self._runtime.db, lambda session: credentials.revoke_credential(session, credential_id, account_id, now)
        )
        self.forget()
        return ended

    def forget(self) -> None:
        """Ask the database again for every key and session; a lookup under way is not remembered either."""
        with self._lock:
            self._revocations += 1
            self._remembered.clear()


def create_key(
    runtime: Runtime,
    role: KeyRole,
    name: str,
    account_id: str | None = None,
    scopes: Sequence[Action] | None = None,
    expires_at: datetime | None = None,
) -> str:
    """Make a key and answer it: the only time it can be read. Blocks.

    Account keys need the account; the others have none, and stand for a named person or service.
    """
    if (role == "account") != (account_id is not None):
        raise ValueError("account keys, and only they, belong to an account")
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("a key's name is 1 to 100 printable characters")
    if scopes is not None and not all(role in MATRIX.get(scope, ()) for scope in scopes):
        raise ValueError("a key's scopes are among what its role may do")
    key = new_key(runtime.catalog.key_prefix if role == "account" else STAFF_PREFIXES[role])
    now = runtime.clock.now()
    credential = Credential(
        key_hash=hashes_of(key, runtime.secrets)[0],
        credential_id=new_id("key", now),
        role=role,
        account_id=account_id,
        name=name,
        hint=key[-4:],
        created_at=now,
        expires_at=expires_at,
        scopes=None if scopes is None else " ".join(sorted(scopes)),
    )
    transact(runtime.db, lambda session: credentials.add_credential(session, credential))
    return key


def _scopes(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(text.split())


def _role(text: str) -> Role:
    for role in MATRIX["read"]:
        if role == text:
            return role
    raise AssertionError(f"{text} is no role")
