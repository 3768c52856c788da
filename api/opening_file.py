"""The file of `purser import`: CSV with a header, one lot a line, every line checked before anything is written.

`accountId,reference,credits` must be there. `reference` is the operator's own name for the balance, once for each
account: by it a line that was brought in is known again. `costMinor` is what was paid for the credits, in the
catalogue's currency. The account's columns say how to open an account that is not there yet.
"""

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from api.accounts import AccountId, Locale
from api.body import Description, Line
from api.grants import expiry_of
from engine.flows.accounts import NewAccount
from engine.flows.opening import OPERATION, OpeningBalance
from engine.rules.catalog import Catalog
from engine.rules.commands import Grant
from engine.rules.errors import Invalid
from engine.rules.fields import Country, Email
from engine.rules.lots import Bucket
from engine.rules.money import CREDITS_MAX

ACTOR = "operator:import"
REQUIRED = ("accountId", "reference", "credits")
_DIGITS = re.compile(r"[0-9]{1,16}", re.ASCII)


class Whole(int):
    """Credits or minor units in a cell: digits and nothing else."""


class OpeningLine(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """One line; an empty cell is the same as none."""

    account_id: AccountId
    reference: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9._:-]{1,100}\Z")]
    credits: Whole
    bucket: Bucket = "recharge"
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    cost_minor: Whole = Whole(0)
    description: Description = "Opening balance"
    email: Email | None = None
    name: Line | None = None
    country: Country | None = None
    locale: Locale | None = None
    plan: Line | None = None
    grant_monthly_credits: Literal["true", "false"] = "false"


@dataclass(frozen=True, slots=True)
class Numbered:
    """A balance and the line of the file that says it."""

    line: int
    balance: OpeningBalance


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why a line can't be brought in."""

    line: int
    problem: str


class NoOpeningFile(ValueError):
    """The file as a whole is not one: no text, no header, or a column that nobody knows."""


def read_opening_file(path: Path, catalog: Catalog) -> tuple[list[Numbered], list[LineProblem]]:
    """The balances in the file, and the lines that are wrong. Raises `NoOpeningFile`, `OSError`."""
    found: list[Numbered] = []
    problems: list[LineProblem] = []
    seen: dict[tuple[str, str], int] = {}
    for number, cells in _records(path):
        try:
            line = _read(cells)
            balance = _balance(line, catalog)
        except Invalid as error:
            problems.append(LineProblem(number, f"{error.facts['field']}: {error.detail}"))
            continue
        earlier = seen.setdefault((line.account_id, line.reference), number)
        if earlier != number:
            problems.append(LineProblem(number, f"reference: line {earlier} says it for this account already."))
            continue
        found.append(Numbered(number, balance))
    return found, problems


def _records(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """The lines below the header as pairs of column and cell, each with its number."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        try:
            header = next(reader, [])
            _check_header(header)
            for cells in reader:
                if cells:
                    named = list(zip(header, cells, strict=False))
                    yield reader.line_num, named if len(cells) == len(header) else [("", "")]
        except (csv.Error, UnicodeDecodeError) as error:
            raise NoOpeningFile(f"{path}: not CSV in UTF-8: {error}.") from error


def _check_header(header: Iterable[str]) -> None:
    names = tuple(header)
    known = [field.encode_name for field in msgspec.structs.fields(OpeningLine)]
    for missing in (name for name in REQUIRED if name not in names):
        raise NoOpeningFile(f"The header has no column {missing}.")
    for name in names:
        if name not in known:
            raise NoOpeningFile(f"The header has a column {name!r}; known are {', '.join(known)}.")
        if names.count(name) > 1:
            raise NoOpeningFile(f"The header has the column {name} twice.")


def _read(cells: list[tuple[str, str]]) -> OpeningLine:
    if cells == [("", "")]:
        raise Invalid("line", "It has more or fewer cells than the header.")
    said = {name: text.strip() for name, text in cells if text.strip()}
    try:
        return msgspec.convert(said, OpeningLine, dec_hook=_whole)
    except msgspec.ValidationError as error:
        detail, _, place = str(error).partition(" - at `$.")
        missing = re.search(r"required field `([^`]+)`", detail)
        raise Invalid(missing[1] if missing else place.rstrip("`"), f"{detail}.") from error


def _whole(kind: type, text: object) -> object:
    if kind is not Whole or not isinstance(text, str) or not _DIGITS.fullmatch(text) or int(text) > CREDITS_MAX:
        raise ValueError(f"Expected digits, at most {CREDITS_MAX}")
    return Whole(text)


def _balance(line: OpeningLine, catalog: Catalog) -> OpeningBalance:
    """The line as the flow takes it: credits that were paid for are a deposit, others a correction."""
    if line.bucket not in catalog.buckets:
        raise Invalid("bucket", f"The catalogue's buckets are {', '.join(catalog.buckets)}.")
    if line.credits == 0:
        raise Invalid("credits", "A lot has at least one credit.")
    is_paid = line.cost_minor > 0
    grant = Grant(
        operation=OPERATION,
        account_id=line.account_id,
        actor=ACTOR,
        type="deposit" if is_paid else "admin_credit",
        source="custom_credits" if is_paid else "admin",
        bucket=line.bucket,
        credits=int(line.credits),
        description=line.description,
        expires_at=expiry_of(line.bucket, line.expires_at),
        reference_type="admin",
        reference_id=line.reference,
        cost_minor=int(line.cost_minor),
        cost_currency=catalog.pricing.currency if is_paid else None,
        metadata=msgspec.json.encode({"costMinor": int(line.cost_minor)}).decode() if is_paid else "{}",
        key=line.reference,
    )
    return OpeningBalance(_owner(line), grant)


def _owner(line: OpeningLine) -> NewAccount:
    return NewAccount(
        account_id=line.account_id,
        email=line.email,
        name=line.name,
        country=line.country,
        locale=line.locale,
        plan=line.plan,
        grant_monthly_credits=line.grant_monthly_credits == "true",
        actor=ACTOR,
        scope=ACTOR,
        key=None,
    )
