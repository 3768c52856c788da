"""`GET` and `PUT profile`: who the customer is, as documents and mails name them."""

from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from msgspec import UNSET, Meta, UnsetType
from sqlmodel import Session

from api.accounts import Locale
from api.body import Body
from api.scope import Answer, Call, Resource
from engine.rules.errors import Invalid, NotFound, WalletNotActive
from engine.rules.fields import Country, Email, Text
from engine.rules.profiles import Profile, merged
from engine.store import books
from engine.store.database import reading, transact
from engine.store.profiles import read_profile, write_profile
from engine.store.tables import AccountRow

Words = Text | UnsetType | None
TaxId = Annotated[str, Meta(min_length=2, max_length=40)]


class AddressBody(Body, frozen=True, kw_only=True):
    """Fields left out stay as they are; `null` removes one."""

    line1: Words = UNSET
    line2: Words = UNSET
    postal_code: Words = UNSET
    city: Words = UNSET
    region: Words = UNSET
    country: Country | UnsetType | None = UNSET


class ProfileBody(Body, frozen=True, kw_only=True):
    """Fields left out stay as they are; `null` removes one (an account always has an address for mails, and a
    locale)."""

    name: Words = UNSET
    email: Email | UnsetType = UNSET
    locale: Locale | UnsetType = UNSET
    timezone: Words = UNSET
    country: Country | UnsetType | None = UNSET
    company: Words = UNSET
    tax_id: TaxId | UnsetType | None = UNSET
    address: AddressBody | UnsetType | None = UNSET


@cache
def _timezones() -> frozenset[str]:
    return frozenset(available_timezones())


def get_profile(call: Call[None]) -> Answer:
    """The profile."""
    with reading(call.runtime.db) as session:
        row = session.get(AccountRow, call.account_id)
    if row is None:
        raise NotFound("account")
    return Answer(read_profile(row))


def put_profile(call: Call[ProfileBody]) -> Answer:
    """Change fields of the profile; the answer is all of it."""
    ask = call.ask
    if isinstance(ask.timezone, str) and ask.timezone not in _timezones():
        raise Invalid("timezone", "This is no IANA time zone, such as Europe/Berlin.")
    changes = _set_fields(ask)
    address = changes.pop("address", UNSET)
    if address is None:
        changes["address"] = None
    parts = _set_fields(address) if isinstance(address, AddressBody) else None

    def work(session: Session) -> Profile:
        books.lock_open(session, call.account_id, call.runtime.clock.now())
        row = session.get_one(AccountRow, call.account_id)
        profile = merged(read_profile(row), changes, parts)
        write_profile(session, row, profile)
        return profile

    return Answer(transact(call.runtime.db, work))


def _set_fields(body: Body) -> dict[str, object]:
    """The fields that stand in a body."""
    fields = {name: getattr(body, name) for name in body.__struct_fields__}
    return {name: value for name, value in fields.items() if value is not UNSET}


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="profile",
        may="settings.read",
        handler=get_profile,
        answers=Profile,
        summary="Who the customer is.",
    ),
    Resource(
        method="PUT",
        path="profile",
        may="settings.write",
        handler=put_profile,
        asks=ProfileBody,
        answers=Profile,
        refuses=(WalletNotActive,),
        summary="Change who the customer is: fields that are named.",
    ),
)
