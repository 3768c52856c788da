"""People of an OIDC issuer who may act for an account: bound, listed and unbound by the host."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from api.body import Body, PageQuery
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from engine.clock import new_id
from engine.rules.errors import Invalid, NotFound, WalletNotActive
from engine.store import accounts, books, identities
from engine.store.database import reading, transact
from engine.store.identities import Identity, IdentityRole
from engine.store.tables import IdentityRow

PATH = "/v1/accounts/{account_id:str}/identities"
Printable = r"\A[^\x00-\x1f\x7f]*\Z"


class IdentityBody(Body, frozen=True, kw_only=True):
    """A person by the issuer's name for them (`iss` and `sub` of their tokens), and what they are to the account."""

    issuer: Annotated[str, Meta(min_length=1, max_length=255, pattern=Printable)]
    subject: Annotated[str, Meta(min_length=1, max_length=255, pattern=Printable)]
    role: IdentityRole = "owner"


class IdentityView(View, frozen=True, kw_only=True):
    """A person who may act for the account."""

    id: str
    issuer: str
    subject: str
    role: str
    created_at: datetime


class IdentitiesAnswer(View, frozen=True, kw_only=True):
    """The account's people, newest first."""

    identities: tuple[IdentityView, ...]
    pagination: Pagination


def put_identity(call: Call[IdentityBody]) -> Answer:
    """Bind a person to the account, or change what they are to it."""
    runtime = call.runtime
    try:
        row = transact(runtime.db, lambda session: _bind(session, call))
    except IntegrityError:
        # The same person at the same moment: this time the other's row is seen.
        row = transact(runtime.db, lambda session: _bind(session, call))
    call.site.keyring.forget()
    return Answer(_view(row))


def _bind(session: Session, call: Call[IdentityBody]) -> IdentityRow:
    account_id, ask, now = call.account_id, call.ask, call.runtime.clock.now()
    books.lock_open(session, account_id, now)
    row = identities.find_identity(session, ask.issuer, ask.subject)
    if row is not None and row.account_id != account_id:
        raise Invalid("subject", "This person acts for another account: unbind them there first.")
    # From here it must succeed.
    if row is None:
        made = Identity(ask.issuer, ask.subject, new_id("idn", now), account_id, ask.role, now)
        return identities.add_identity(session, made)
    row.role = ask.role
    session.add(row)
    session.flush()
    return row


def list_identities(call: Call[PageQuery]) -> Answer:
    """Who may act for the account."""
    page, limit = call.ask.page, call.ask.limit
    with reading(call.runtime.db) as session:
        if accounts.find_account(session, call.account_id) is None:
            raise NotFound("account")
        rows, total = identities.identities_of(session, call.account_id, page, limit)
    views = tuple(map(_view, rows))
    return Answer(IdentitiesAnswer(identities=views, pagination=Pagination(page=page, limit=limit, total=total)))


def delete_identity(call: Call[None]) -> Answer:
    """Unbind a person: their tokens stop working at once."""
    identity_id = call.path["identity_id"]
    ended = transact(call.runtime.db, lambda session: identities.remove_identity(session, call.account_id, identity_id))
    call.site.keyring.forget()
    if not ended:
        raise NotFound("identity")
    return Answer(None)


def _view(row: IdentityRow) -> IdentityView:
    return IdentityView(
        id=row.identity_id, issuer=row.issuer, subject=row.subject, role=row.role, created_at=row.created_at
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="PUT",
        path=PATH,
        may="wallet",
        handler=put_identity,
        asks=IdentityBody,
        answers=IdentityView,
        refuses=(WalletNotActive,),
        summary="Let a person of the OIDC issuer act for the account, as owner or member.",
    ),
    Resource(
        method="GET",
        path=PATH,
        may="wallet",
        handler=list_identities,
        asks=PageQuery,
        answers=IdentitiesAnswer,
        summary="Who of the OIDC issuer may act for the account.",
    ),
    Resource(
        method="DELETE",
        path=f"{PATH}/{{identity_id:str}}",
        may="wallet",
        handler=delete_identity,
        status=204,
        summary="Unbind a person, at once.",
    ),
)
