"""Whatever is changed in a stored row, left out, put in or cut off the end: the chain or the audit names the place."""

import hmac
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from msgspec.structs import astuple, replace
from msgspec.structs import replace as changed
from sqlalchemy import update

from engine.audit import audit
from engine.rules.commands import Command, Reverse
from engine.rules.ledger import Entry, Transaction, canonical, chain_hash, first_broken_row
from engine.store import books
from engine.store.database import Database, writing
from engine.store.tables import Base
from tests.engine.backends import InMemory, Stored
from tests.engine.support import CHAIN_KEY, DAY_0, debit, gift

ACCOUNT = "acc_chain"
FIELDS = [name for name in Transaction.__struct_fields__ if name != "hash"]


def history() -> list[Command]:
    """Rows in which every field is set somewhere."""
    spend = replace(
        debit(ACCOUNT, 7, key="k", description="A call"),
        provider_id="p",
        provider_name="P",
        capability_id="c",
        outcome="ok",
        call_id="call",
    )
    undo = Reverse(
        account_id=ACCOUNT, actor="service", transaction_id="txn_0000030000000003", credits=2, description=""
    )
    return [gift(ACCOUNT, 5, "limited_time", until=DAY_0 + timedelta(days=3)), gift(ACCOUNT, 9), spend, undo]


@pytest.fixture
def rows() -> Sequence[Transaction]:
    memory = InMemory()
    memory.open(ACCOUNT, DAY_0)
    memory.post(history(), DAY_0)
    return memory.books(ACCOUNT).rows


def another(value: object) -> object:
    """A value of the same kind that is not this one."""
    match value:
        case None:
            return "x"
        case int():
            return value + 1
        case str():
            return value + "x"
        case datetime():
            return value + timedelta(microseconds=1)
        case tuple():
            first = value[0]
            assert isinstance(first, Entry)
            return (changed(first, credits=first.credits + 1), *value[1:])
    raise TypeError(value)


@pytest.mark.parametrize("name", FIELDS)
def test_a_changed_field_of_any_row_is_found(rows: Sequence[Transaction], name: str) -> None:
    for place, row in enumerate(rows):
        tampered = [*rows[:place], changed(row, **{name: another(getattr(row, name))}), *rows[place + 1 :]]
        assert first_broken_row([CHAIN_KEY], tampered) == tampered[place]


@pytest.mark.parametrize("part", ["lot_id", "bucket", "credits"])
def test_a_changed_part_of_any_entry_is_found(rows: Sequence[Transaction], part: str) -> None:
    for place, row in enumerate(rows):
        for at, entry in enumerate(row.entries):
            other = changed(entry, **{part: another(getattr(entry, part))})
            entries = (*row.entries[:at], other, *row.entries[at + 1 :])
            tampered = [*rows[:place], changed(row, entries=entries), *rows[place + 1 :]]
            assert first_broken_row([CHAIN_KEY], tampered) == tampered[place]


def test_a_changed_hash_is_found_at_its_row(rows: Sequence[Transaction]) -> None:
    for place, row in enumerate(rows):
        tampered = [*rows[:place], changed(row, hash=bytes(32)), *rows[place + 1 :]]
        assert first_broken_row([CHAIN_KEY], tampered) == tampered[place]


def test_a_row_left_out_put_in_or_moved_is_found(rows: Sequence[Transaction]) -> None:
    for place in range(len(rows) - 1):
        left_out = [*rows[:place], *rows[place + 1 :]]
        assert first_broken_row([CHAIN_KEY], left_out) == rows[place + 1]
        twice = [*rows[: place + 1], *rows[place:]]
        assert first_broken_row([CHAIN_KEY], twice) == rows[place]
        moved = [*rows[:place], rows[place + 1], rows[place], *rows[place + 2 :]]
        assert first_broken_row([CHAIN_KEY], moved) == rows[place + 1]


def test_without_the_key_a_chain_cannot_be_written_again(rows: Sequence[Transaction]) -> None:
    forged = []
    before = b""
    for row in rows:
        other = changed(row, amount_credits=row.amount_credits + 1)
        forged.append(changed(other, hash=chain_hash(b"a guess", before, other)))
        before = forged[-1].hash
    assert first_broken_row([CHAIN_KEY], forged) == forged[0]
    assert first_broken_row([b"a guess"], forged) is None


def test_rows_written_under_an_earlier_key_still_hold(rows: Sequence[Transaction]) -> None:
    assert first_broken_row([b"the key of today, and 32 bytes..", CHAIN_KEY], rows) is None
    assert first_broken_row([b"the key of today, and 32 bytes.."], rows) == rows[0]


def test_the_chain_covers_every_field_but_the_hash(rows: Sequence[Transaction]) -> None:
    assert len(FIELDS) == len(astuple(rows[0])) - 1
    seen = {canonical(changed(rows[2], **{name: another(getattr(rows[2], name))})) for name in FIELDS}
    assert len(seen) == len(FIELDS) and canonical(rows[2]) not in seen
    assert canonical(changed(rows[2], hash=b"else")) == canonical(rows[2])


@pytest.mark.parametrize("length", [0, 31, 32, 64, 65, 200])
def test_a_row_is_hashed_by_the_standard_hmac_whatever_the_key(rows: Sequence[Transaction], length: int) -> None:
    key = bytes(range(length))
    for row in rows:
        assert chain_hash(key, b"before", row) == hmac.digest(key, b"before" + canonical(row), "sha256")


TEXT_COLUMNS = [name for name in books.TRANSACTION if name not in ("account_id", "seq", "entries", "created_at")]


@pytest.mark.parametrize("column", TEXT_COLUMNS)
def test_the_audit_names_the_row_whose_stored_column_was_changed(db: Database, column: str) -> None:
    backend = Stored(db)
    backend.open(ACCOUNT, DAY_0)
    backend.post(history(), DAY_0)
    assert audit(db, [CHAIN_KEY]).is_clean
    name = "metadata" if column == "metadata_json" else column
    row = backend.books(ACCOUNT).rows[2]
    value = bytes(32) if name == "hash" else another(getattr(row, name))
    table = Base.metadata.tables["transactions"]
    with writing(db) as session:
        where = (table.c.account_id == ACCOUNT) & (table.c.seq == row.seq)
        session.connection().execute(update(table).where(where).values({column: value}))
    assert audit(db, [CHAIN_KEY]).findings[0].where == f"{ACCOUNT}/{row.seq}"


def test_the_audit_notices_that_the_end_was_cut_off(db: Database) -> None:
    backend = Stored(db)
    backend.open(ACCOUNT, DAY_0)
    backend.post(history(), DAY_0)
    table = Base.metadata.tables["transactions"]
    with writing(db) as session:
        session.connection().execute(table.delete().where(table.c.account_id == ACCOUNT, table.c.seq == 4))
    assert audit(db, [CHAIN_KEY]).findings[0].where == f"{ACCOUNT}/3"
