"""An account's API keys: made and shown once, listed, revoked at once; and the host's gateway checks one.

The key a request made is never stored. It is derived from a random salt and the operator's secret, and the salt is
kept with the request's idempotency key: so that request, sent again, is answered by the same key.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from sqlmodel import Session

from api.auth import MATRIX
from api.body import Body, PageQuery
from api.keys import derived_key, hashes_of, new_token
from api.limits import LimitsBody, changes_in
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from engine.clock import new_id
from engine.flows.limits import change_key
from engine.rules.commands import fingerprint_of
from engine.rules.errors import IdempotencyMismatch, Invalid, NotFound, Unauthenticated, WalletNotActive
from engine.runtime import Runtime
from engine.store import books, credentials, history, replies
from engine.store.credentials import Credential
from engine.store.database import reading, transact
from engine.store.tables import CredentialRow

OPERATION = "api key"
PURPOSE = "api keys"
SCOPES = tuple(sorted(action for action, roles in MATRIX.items() if "account" in roles))
"""What an account's key may do, as the matrix says."""

Scope = Literal["read", "buy", "settings.read"]


KeyName = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]


class ApiKeyBody(LimitsBody, frozen=True, kw_only=True):
    """A name to tell keys apart by, and limits for what is spent with this key, on top of its account's.

    A key works until `expiresAt`, if it has one, and for all that an account's key may do, or for its `scopes` alone.
    """

    name: KeyName
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=3)] | None = None


class ApiKeyChange(LimitsBody, frozen=True, kw_only=True):
    """What changes; `null` removes a limit, what is omitted stays."""

    name: KeyName | None = None


class KeyLimits(View, frozen=True, kw_only=True):
    """Limits of this key alone; null where it has none beside its account's."""

    daily_spend_limit_credits: str | None
    per_call_limit_credits: str | None


class ApiKeyView(View, frozen=True, kw_only=True):
    """A key without what is secret of it: `hint` is its end. `lastUsedAt` is exact to the minute."""

    id: str
    name: str
    hint: str
    limits: KeyLimits
    scopes: tuple[str, ...]
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None


class NewApiKey(ApiKeyView, frozen=True, kw_only=True):
    """A key as it is shown once."""

    key: str


class ApiKeysAnswer(View, frozen=True, kw_only=True):
    """The keys that work, newest first."""

    api_keys: tuple[ApiKeyView, ...]
    pagination: Pagination


class VerifyBody(Body, frozen=True, kw_only=True):
    key: Annotated[str, Meta(min_length=1, max_length=200)]


class VerifiedKey(View, frozen=True, kw_only=True):
    """Whose key it is and what it may do."""

    account_id: str
    api_key_id: str
    scopes: tuple[str, ...]
    limits: KeyLimits


class _Kept(msgspec.Struct, frozen=True):
    """What is kept of the first answer."""

    credential_id: str
    salt: str


@dataclass(frozen=True, slots=True)
class _Made:
    answer: NewApiKey
    is_replay: bool


def post_key(call: Call[ApiKeyBody]) -> Answer:
    """Make a key."""
    made = transact(call.runtime.db, lambda session: _make(session, call))
    return Answer(made.answer, is_replay=made.is_replay)


def _make(session: Session, call: Call[ApiKeyBody]) -> _Made:
    runtime, account_id, name = call.runtime, call.account_id, call.ask.name
    daily, per_call = (None if change == "keep" else change for change in changes_in(call.ask, runtime.catalog))
    now = runtime.clock.now()
    page = books.lock_wallets(session, [account_id], now).get(account_id)
    if page is None:
        raise NotFound("account")
    limits = () if daily is None and per_call is None else (daily, per_call)
    scopes = None if call.ask.scopes is None else " ".join(sorted(set(call.ask.scopes)))
    ends_at = _end(call.ask.expires_at)
    narrowed = () if scopes is None and ends_at is None else (scopes, ends_at)
    fingerprint = fingerprint_of(OPERATION, (name, *limits, *narrowed))
    if call.key is not None:
        kept = replies.find(session, account_id, OPERATION, call.key, fingerprint)
        if kept is not None:
            return _made_before(session, runtime, account_id, msgspec.json.decode(kept.answer, type=_Kept))
    if page.wallet.status == "closed":
        raise WalletNotActive(page.wallet.status)
    if ends_at is not None and ends_at <= now:
        raise Invalid("expiresAt", "It lies in the past.")
    # From here it must succeed.
    salt = new_token()
    key = derived_key(runtime.catalog.key_prefix, salt, runtime.secrets.signing(PURPOSE))
    credential = Credential(
        key_hash=hashes_of(key, runtime.secrets)[0],
        credential_id=new_id("key", now),
        role="account",
        account_id=account_id,
        name=name,
        hint=key[-4:],
        created_at=now,
        daily_limit_credits=daily,
        per_call_limit_credits=per_call,
        expires_at=ends_at,
        scopes=scopes,
    )
    credentials.add_credential(session, credential)
    if call.key is not None:
        answer = msgspec.json.encode(_Kept(credential.credential_id, salt)).decode()
        replies.keep(session, account_id, OPERATION, call.key, fingerprint, 201, answer, now)
    return _Made(_new_key(credential, key), is_replay=False)


def _end(at: datetime | None) -> datetime | None:
    try:
        return None if at is None else at.astimezone(timezone.utc)
    except OverflowError as error:
        raise Invalid("expiresAt", "It is too far away; leave it out for a key that does not end.") from error


def _made_before(session: Session, runtime: Runtime, account_id: str, kept: _Kept) -> _Made:
    """The first answer again: the key that one of the operator's secrets makes of the salt."""
    row = credentials.get_account_key(session, account_id, kept.credential_id)
    assert row is not None, "keys are revoked, never deleted"
    for secret in runtime.secrets.all_for(PURPOSE):
        key = derived_key(runtime.catalog.key_prefix, kept.salt, secret)
        if row.key_hash in hashes_of(key, runtime.secrets):
            return _Made(_new_key(row, key), is_replay=True)
    raise NotFound("API key")


def _new_key(row: Credential | CredentialRow, key: str) -> NewApiKey:
    return NewApiKey(
        id=row.credential_id,
        name=row.name,
        hint=row.hint,
        limits=_limits(row),
        scopes=_scopes(row),
        expires_at=row.expires_at,
        created_at=row.created_at,
        last_used_at=None,
        key=key,
    )


def _key_view(row: CredentialRow) -> ApiKeyView:
    return ApiKeyView(
        id=row.credential_id,
        name=row.name,
        hint=row.hint,
        limits=_limits(row),
        scopes=_scopes(row),
        expires_at=row.expires_at,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )


def _scopes(row: Credential | CredentialRow) -> tuple[str, ...]:
    return SCOPES if row.scopes is None else tuple(row.scopes.split())


def _limits(row: Credential | CredentialRow) -> KeyLimits:
    daily, per_call = row.daily_limit_credits, row.per_call_limit_credits
    return KeyLimits(
        daily_spend_limit_credits=None if daily is None else str(daily),
        per_call_limit_credits=None if per_call is None else str(per_call),
    )


def list_keys(call: Call[PageQuery]) -> Answer:
    """The account's keys that work."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        if history.find_wallet(session, call.account_id) is None:
            raise NotFound("account")
        rows, total = credentials.account_keys(session, call.account_id, ask.page, ask.limit, call.runtime.clock.now())
    views = tuple(map(_key_view, rows))
    return Answer(ApiKeysAnswer(api_keys=views, pagination=Pagination(page=ask.page, limit=ask.limit, total=total)))


def put_key(call: Call[ApiKeyChange]) -> Answer:
    """Change a key's name or limits."""
    runtime = call.runtime
    daily, per_call = changes_in(call.ask, runtime.catalog)
    key_id, name = call.path["key_id"], call.ask.name
    return Answer(_key_view(change_key(runtime, call.account_id, key_id, name, daily, per_call, runtime.clock.now())))


def delete_key(call: Call[None]) -> Answer:
    """Revoke a key; what it was used for a moment ago is its last."""
    if not call.site.keyring.revoke(call.path["key_id"], call.account_id):
        raise NotFound("API key")
    return Answer(None)


async def verify_key(call: Call[VerifyBody]) -> Answer:
    """Whom a key stands for that the host was shown; one that is unknown, revoked or no account's is not there."""
    try:
        principal = await call.site.keyring.principal_of_key(call.ask.key)
    except Unauthenticated as error:
        raise NotFound("API key") from error
    if principal.role != "account" or principal.account_id is None:
        raise NotFound("API key")
    row = await asyncio.to_thread(_row, call.runtime, principal.account_id, principal.credential_id)
    if row is None or row.revoked_at is not None:
        raise NotFound("API key")
    return Answer(
        VerifiedKey(
            account_id=principal.account_id,
            api_key_id=principal.credential_id,
            scopes=_scopes(row),
            limits=_limits(row),
        )
    )


def _row(runtime: Runtime, account_id: str, key_id: str) -> CredentialRow | None:
    with reading(runtime.db) as session:
        return credentials.get_account_key(session, account_id, key_id)


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="api-keys",
        may="settings.read",
        handler=list_keys,
        asks=PageQuery,
        answers=ApiKeysAnswer,
        summary="The account's API keys that work.",
    ),
    Resource(
        method="POST",
        path="api-keys",
        may="settings.write",
        handler=post_key,
        asks=ApiKeyBody,
        answers=NewApiKey,
        status=201,
        key="optional",
        refuses=(WalletNotActive, IdempotencyMismatch),
        summary="Make an API key: the answer is the only place where it is shown.",
    ),
    Resource(
        method="PUT",
        path="api-keys/{key_id:str}",
        may="settings.write",
        handler=put_key,
        asks=ApiKeyChange,
        answers=ApiKeyView,
        summary="Change an API key's name or its own limits.",
    ),
    Resource(
        method="DELETE",
        path="api-keys/{key_id:str}",
        may="settings.write",
        handler=delete_key,
        status=204,
        summary="Revoke an API key, at once.",
    ),
    Resource(
        method="POST",
        path="/v1/api-keys/verify",
        may="wallet",
        handler=verify_key,
        asks=VerifyBody,
        answers=VerifiedKey,
        summary="Whose key this is and what it may do.",
    ),
)
