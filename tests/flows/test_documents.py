"""Documents follow money: numbers without a gap, one document per payment and refund, whoever sells."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlmodel import Session, select

from engine.audit import audit
from engine.flows import documents as flow
from engine.flows.document_parts import Order
from engine.rules.document_data import Line
from engine.rules.documents import Document, read
from engine.rules.money import Money
from engine.store import documents
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, DocumentRow, DocumentSeriesRow, OutboxRow
from tests.flows.world import ACCOUNT, World

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


def test_a_subscriptions_month_has_its_document_in_the_same_list_once(world: World) -> None:
    order = Order(
        order_id="sin_1",
        provider="stripe",
        payment_id="in_1",
        paid_at=world.clock.now(),
        price=Money(2_900, "USD"),
        lines=(Line(key="subscription", detail="Pro", credits=10_000, amount_minor=2_900, bucket="recharge"),),
    )
    first = flow.issue_order(world.runtime, ACCOUNT, order)
    assert flow.issue_order(world.runtime, ACCOUNT, order).document_id == first.document_id
    world.deliver(world.pay(world.buy()))
    with reading(world.db) as session:
        rows, total = documents.list_documents(session, ACCOUNT, 1, 20)
    assert total == 2 and {row.purchase_id for row in rows} >= {"sin_1"}
    assert {row.number_in_series for row in rows} == {1, 2}
    assert is_clean(world)


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


class Undone(Exception):
    """A transaction that fails after it took its number."""


def test_numbers_have_no_gap_under_concurrency_and_rollbacks(world: World) -> None:
    """Eight callers at once; every fifth transaction is undone after it took its number."""
    undone = threading.Semaphore(0)

    def order(number: int) -> Order:
        return Order(
            order_id=f"sin_{number}",
            provider="stripe",
            payment_id=None,
            paid_at=world.clock.now(),
            price=Money(100 + number, "USD"),
            lines=(Line(key="subscription", credits=1, amount_minor=100 + number),),
        )

    def fail(session: Session) -> None:
        documents.take_number(session, "ACNR26")
        raise Undone

    def act(number: int) -> None:
        if number % 5 == 0:
            with pytest.raises(Undone):
                transact(world.db, fail)
            undone.release()
        else:
            flow.issue_order(world.runtime, ACCOUNT, order(number))

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
