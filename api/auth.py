"""Who is asking, and what they may do: bearer keys, portal cookies, and the matrix of SPEC §10 as data.

A verified key is remembered in this process for `REMEMBER_SECONDS`, so that a spend pays no database read for it.
Revoking through `Keyring.revoke` forgets it here in the same step, a lookup that is under way included: the next
request is refused. Another process on the same database notices within `REMEMBER_SECONDS`.
"""

import asyncio
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from secrets import token_bytes
from typing import Literal
from urllib.parse import urlsplit

from api.keys import STAFF_PREFIXES, hashes_of, is_key, is_token, new_key
from api.plain import AnyRequest
from engine.clock import monotonic, new_id, real_now
from engine.rules.errors import Forbidden, Unauthenticated
from engine.rules.return_urls import origin_of
from engine.runtime import Runtime
from engine.store import credentials
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


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request comes from. `account_id` binds it to one account; `None` is the operator's side."""

    role: Role
    credential_id: str
    name: str
    account_id: str | None

    @property
    def actor(self) -> str:
        """As the ledger and the audit log name them: `service:NAME`, `support:NAME`, `account:KEYID`, `owner:ID`."""
        return f"{self.role}:{self.credential_id if self.account_id else self.name}"

    def check_may(self, action: Action) -> None:
        """Raise `Forbidden` unless the matrix allows it."""
        if self.role not in MATRIX[action]:
            raise Forbidden("This credential may not do that.")


@dataclass(frozen=True, slots=True)
class _Remembered:
    principal: Principal
    until: float
    expires_at: datetime | None

    def is_fresh(self) -> bool:
        return self.until > monotonic() and (self.expires_at is None or self.expires_at > real_now())


class Keyring:
    """Turns what a request shows into a principal. One per process.

    Keys are remembered under a fast hash with a key of this process, never as they are.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._remembered: dict[bytes, _Remembered] = {}
        self._process_key = token_bytes(32)
        self._revocations = 0
        self._lock = threading.Lock()
        self._origin = origin_of(runtime.base_url)
        self.cookie_name = "__Host-purser" if runtime.base_url.startswith("https://") else "purser"

    async def principal_of(self, request: AnyRequest) -> Principal:
        """The bearer's principal, else the portal cookie's; `Unauthenticated` without either.

        A cookie comes with every request a browser makes, so methods that change something also need an `Origin`
        (or `Referer`) of our own, else `Forbidden`.
        """
        shown = request.headers.getall("authorization", [])
        if shown:
            scheme, _, key = shown[0].partition(" ")
            if len(shown) > 1 or scheme.lower() != "bearer" or not is_key(key.strip()):
                raise Unauthenticated("The Authorization header holds no key of this service.")
            return await self._known(key.strip(), is_cookie=False)
        token = request.cookies.get(self.cookie_name, "")
        if not is_token(token):
            raise Unauthenticated("A key is needed: Authorization: Bearer KEY.")
        principal = await self._known(token, is_cookie=True)
        if request.method not in SAFE_METHODS:
            self.check_origin(request)
        return principal

    async def principal_of_key(self, key: str) -> Principal:
        """Whom a key stands for that somebody else was shown; `Unauthenticated` if it is none of ours."""
        if not is_key(key):
            raise Unauthenticated("This is no key of this service.")
        return await self._known(key, is_cookie=False)

    def check_origin(self, request: AnyRequest) -> None:
        """Raise `Forbidden` unless the request comes from one of our own pages."""
        source = request.headers.get("origin") or request.headers.get("referer") or ""
        try:
            is_ours = origin_of(source) == self._origin and "@" not in urlsplit(source).netloc
        except ValueError:
            is_ours = False
        if not is_ours:
            raise Forbidden("A browser session may change things only from this service's own pages.")

    async def _known(self, secret: str, *, is_cookie: bool) -> Principal:
        name = blake2b(secret.encode(), key=self._process_key, digest_size=32).digest()
        seen = self._remembered.get(name)
        if seen is not None and seen.is_fresh():
            return seen.principal
        revocations = self._revocations
        hashes = hashes_of(secret, self._runtime.secrets)
        found = await asyncio.to_thread(self._look_up, hashes, is_cookie)
        if found is None:
            raise Unauthenticated("This key or session is unknown, revoked or over.")
        self._remember(name, found, revocations)
        return found.principal

    def _look_up(self, hashes: tuple[str, ...], is_cookie: bool) -> _Remembered | None:
        until = monotonic() + REMEMBER_SECONDS
        with reading(self._runtime.db) as session:
            if is_cookie:
                portal = credentials.find_portal_session(session, hashes, real_now())
                if portal is None:
                    return None
                who = Principal(
                    _role(portal.role), f"portal-{portal.token_hash[:12]}", portal.subject, portal.account_id
                )
                return _Remembered(who, until, portal.expires_at)
            row = credentials.find_credential(session, hashes)
            if row is None:
                return None
        if row.role == "account":
            self._note_use(row)
        return _Remembered(Principal(_role(row.role), row.credential_id, row.name, row.account_id), until, None)

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


def create_key(runtime: Runtime, role: KeyRole, name: str, account_id: str | None = None) -> str:
    """Make a key and answer it: the only time it can be read. Blocks.

    Account keys need the account; the others have none, and stand for a named person or service.
    """
    if (role == "account") != (account_id is not None):
        raise ValueError("account keys, and only they, belong to an account")
    if not name or len(name) > 100 or not name.isprintable():
        raise ValueError("a key's name is 1 to 100 printable characters")
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
    )
    transact(runtime.db, lambda session: credentials.add_credential(session, credential))
    return key


def _role(text: str) -> Role:
    for role in MATRIX["read"]:
        if role == text:
            return role
    raise AssertionError(f"{text} is no role")
