"""Documents follow money: numbers without a gap, one document per payment and refund, whoever sells."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from engine.audit import audit
from engine.flows import documents as flow
from engine.flows.converge import apply_facts
from engine.flows.topups import CheckoutOrder, start_checkout
from engine.rules.documents import Document, read
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.store import documents
from engine.store.database import Database, reading, transact
from engine.store.tables import AccountRow, DocumentRow, DocumentSeriesRow, OutboxRow, PurchaseRow
from tests.engine.support import FakeClock
from tests.flows.world import ACCOUNT, World, open_world

PROFILE = (
    '{"company":"Example Compute Ltd","taxId":"IE6433435F","address":'
    '{"line1":"5 Sample Lane","postalCode":"T12 XX00","city":"Cork","country":"IE"}}'
)


def stored(world: World) -> list[DocumentRow]:
    with reading(world.db) as session:
        return sorted(session.exec(select(DocumentRow)).all(), key=lambda row: (row.issued_at, row.number))


def frozen(world: World) -> list[Document]:
    return [read(row.data.encode()) for row in stored(world)]


def is_clean(world: World) -> bool:
    return audit(world.db, world.runtime.secrets.all_for("ledger chain")).is_clean


def set_profile(world: World, profile: str, country: str) -> None:
    def work(session: Session) -> None:
        row = session.get_one(AccountRow, ACCOUNT)
        row.profile, row.country = profile, country
        session.add(row)

    transact(world.db, work)


def test_a_receipt_says_what_was_bought_and_what_the_balance_was_then(world: World) -> None:
    purchase = world.buy(50_000)
    world.deliver(world.pay(purchase))
    [document] = frozen(world)
    assert (document.kind, document.title, document.total_minor) == ("receipt", "receipt", 50_000)
    assert [(line.key, line.credits) for line in document.lines] == [("top_up", 500_000_000), ("bonus", 50_000_000)]
    assert document.balance_after_credits == 550_000_000
    with reading(world.db) as session:
        work = session.exec(select(OutboxRow).where(OutboxRow.kind == "pdf")).one()
    assert document.document_id in work.payload, "its PDF is asked for in the same transaction"
    assert is_clean(world)


@pytest.mark.parametrize("name", ["Paddle", "Apple"])
def test_where_another_sells_the_document_confirms_the_payment(world: World, name: str) -> None:
    set_profile(world, PROFILE, "IE")
    world.provider.merchant_of_record = name  # type: ignore[assignment]
    purchase = world.buy(50_000)
    world.deliver(world.pay(purchase))
    world.clock.advance(timedelta(seconds=1))
    world.deliver(world.refund_elsewhere(purchase, "re_1", 10_000))
    confirmation, refund = frozen(world)
    assert (confirmation.kind, confirmation.sold_by) == ("payment_confirmation", name)
    assert confirmation.mentions == ("not_a_tax_invoice",)
    assert (confirmation.tax_minor, confirmation.has_xml) == (0, False)
    assert (refund.kind, refund.title, refund.tax_minor) == ("credit_note", "refund_confirmation", 0)
    assert [row.series for row in stored(world)] == [f"ACN{letter}26" for letter in "PC"]
    assert is_clean(world)


def test_what_was_bought_stands_on_the_line_with_its_bucket(sqlite: Database, clock: FakeClock) -> None:
    eco = open_world(sqlite, clock, "ecolink")
    plan = eco.runtime.catalog.commit_plan("commit-3")
    assert plan is not None
    order = CheckoutOrder(
        account_id=ACCOUNT, actor="account:test", amount=Money(plan.amount_minor, "USD"), commit_plan="commit-3"
    )
    eco.deliver(eco.pay(start_checkout(eco.runtime, order).purchase))
    automatic = eco.buy()

    def charge(session: Session) -> None:
        session.get_one(PurchaseRow, (ACCOUNT, automatic.purchase_id)).kind = "auto_recharge"

    transact(eco.db, charge)
    eco.clock.advance(timedelta(seconds=1))
    eco.deliver(eco.pay(automatic))
    commit, recharge = frozen(eco)
    assert [(line.key, line.count, line.bucket) for line in commit.lines] == [
        ("commit", 3, "recharge"),
        ("bonus", None, "recharge"),
    ]
    assert [(line.key, line.amount_minor, line.bucket) for line in recharge.lines] == [
        ("auto_recharge", 1_000, "recharge")
    ]
    eco.close()


def test_partial_repeated_and_full_refunds_never_credit_more_than_was_paid(world: World) -> None:
    purchase = world.buy(1_000)
    world.deliver(world.pay(purchase))
    for number, minor in enumerate((333, 333, 333, 500)):
        world.clock.advance(timedelta(seconds=1))
        world.deliver(world.refund_elsewhere(purchase, f"re_{number}", minor))
    receipt, *notes = frozen(world)
    assert [note.total_minor for note in notes] == [333, 333, 333, 1]
    assert sum(note.tax_minor for note in notes) == receipt.tax_minor
    assert {note.original_number for note in notes} == {receipt.number}
    assert len({note.number for note in notes}) == 4
    assert is_clean(world)


def _land(session: Session, world: World, purchase: PurchaseRow, paid: Fact) -> None:
    """The payment arrives; the jobs that would write its receipt have not run."""
    assert apply_facts(session, world.runtime, ACCOUNT, purchase.purchase_id, [paid], "provider:stripe") is not None


class Undone(Exception):
    """A transaction that fails after it took its number."""


def test_numbers_have_no_gap_under_concurrency_and_rollbacks(world: World) -> None:
    """Eight callers at once; every fifth transaction is undone after it took its number."""
    undone = threading.Semaphore(0)

    bought = [world.buy(500 + number) for number in range(60)]
    for purchase in bought:
        paid = world.pay(purchase)
        transact(world.db, lambda session, p=purchase, f=paid: _land(session, world, p, f))  # type: ignore[misc]

    def fail(session: Session) -> None:
        documents.take_number(session, "ACNR26")
        raise Undone

    def act(number: int) -> None:
        if number % 5 == 0:
            with pytest.raises(Undone):
                transact(world.db, fail)
            undone.release()
        else:
            for _ in range(2):
                flow.issue_receipt(world.runtime, ACCOUNT, bought[number].purchase_id)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(act, range(60)))
    rows = stored(world)
    assert sorted(row.number_in_series for row in rows) == list(range(1, 49))
    assert sorted(row.number for row in rows) == [f"ACNR26-{n:07d}" for n in range(1, 49)]
    assert all(undone.acquire(blocking=False) for _ in range(12)), "the control: twelve were undone"
    with reading(world.db) as session:
        assert session.get_one(DocumentSeriesRow, "ACNR26").last == 48
    assert is_clean(world)


def test_a_series_starts_again_with_the_year_of_the_seller(world: World) -> None:
    world.deliver(world.pay(world.buy()))
    world.clock.advance(timedelta(days=400))
    world.deliver(world.pay(world.buy()))
    first, second = stored(world)
    assert (first.number_in_series, second.number_in_series) == (1, 1)
    assert first.series != second.series
    assert is_clean(world)
