"""Profiles in and out of the account's row: some fields are columns, the rest is one JSON text."""

import msgspec
from sqlmodel import Session

from engine.rules.profiles import Profile
from engine.store.tables import AccountRow

COLUMNS = ("name", "email", "locale", "country")


def read_profile(row: AccountRow) -> Profile:
    """The account's profile."""
    rest = msgspec.json.decode(row.profile, type=Profile)
    return msgspec.structs.replace(rest, **{name: getattr(row, name) for name in COLUMNS})


def write_profile(session: Session, row: AccountRow, profile: Profile) -> None:
    """Keep a profile. Fields of the JSON text that are not a profile's stay as they are."""
    kept = msgspec.json.decode(row.profile, type=dict[str, object])
    told = msgspec.to_builtins(profile)
    for name in COLUMNS:
        setattr(row, name, told.pop(name))
    row.profile = msgspec.json.encode({**kept, **told}).decode()
    session.add(row)
