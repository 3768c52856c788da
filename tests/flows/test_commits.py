"""Commit plans: paid upfront, granted at once or month by month, and taken back in proportion."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from msgspec.structs import replace as with_fields

from engine.audit import audit
from engine.flows import topups
from engine.flows.refunds import reverse_purchase
from engine.rules.catalog import Catalog
from engine.rules.commits import commit_credits, part_of
from engine.rules.errors import Invalid
from engine.rules.money import Money
from engine.store.database import Database, reading
from engine.store.purchases import purchase_lots
from engine.store.tables import CommitRow, PurchaseRow
from tests.engine.support import FakeClock, debit, rows_of, wallet_of
from tests.flows.test_policy_refunds import refund
from tests.flows.world import ACCOUNT, World, open_world

USD = 1_000_000


def monthly(catalog: Catalog) -> Catalog:
    """EcoLink's plans, granted in a part each month."""
    plans = tuple(with_fields(plan, granted="monthly") for plan in catalog.commit_plans)
    return with_fields(catalog, commit_plans=plans)


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[World]:
    opened = open_world(db, clock, "ecolink")
    yield opened
    report = audit(db, opened.runtime.secrets.all_for("ledger chain"))
    opened.close()
    assert report.findings == []


@pytest.fixture
def by_month(eco: World) -> World:
    eco.runtime = replace(eco.runtime, catalog=monthly(eco.runtime.catalog))
    eco.jobs._runtime = eco.runtime
    return eco


def commit(world: World, plan_id: str = "commit-3") -> PurchaseRow:
    plan = world.runtime.catalog.commit_plan(plan_id)
    assert plan is not None
    order = topups.CheckoutOrder(
        account_id=ACCOUNT, actor="account:test", amount=Money(plan.amount_minor, "USD"), commit_plan=plan_id
    )
    return topups.start_checkout(world.runtime, order).purchase


def rows(world: World) -> list[tuple[str, str | None, int]]:
    with reading(world.db) as session:
        return [(row.type, row.source, row.amount_credits) for row in rows_of(session, ACCOUNT)]


def available(world: World) -> int:
    with reading(world.db) as session:
        return wallet_of(session, ACCOUNT).available_credits


def wait(world: World, days: int) -> None:
    world.clock.advance(timedelta(days=days))
    world.jobs.run_due()


def test_a_plan_granted_at_once_is_a_lot_and_a_bonus_lot(eco: World) -> None:
    purchase = commit(eco)
    assert purchase.amount_minor == 30_000
    eco.deliver(eco.pay(purchase))
    assert rows(eco) == [("commit_credit", "commit", 300 * USD), ("volume_discount", "volume_discount", 15 * USD)]
    with reading(eco.db) as session:
        first, second = rows_of(session, ACCOUNT)
    assert {(r.reference_type, r.reference_id) for r in (first, second)} == {("commit_plan", "commit-3")}
    assert first.description == "Commit plan: 3 months"
    wait(eco, 100)
    assert len(rows(eco)) == 2


def test_a_monthly_plan_lands_a_part_each_month_from_the_payment_on(by_month: World) -> None:
    by_month.deliver(by_month.pay(commit(by_month)))
    assert available(by_month) == 105 * USD
    wait(by_month, 29)
    assert available(by_month) == 105 * USD
    wait(by_month, 1)
    assert available(by_month) == 210 * USD
    wait(by_month, 365)
    assert available(by_month) == 315 * USD and len(rows(by_month)) == 6


def test_money_that_went_back_ends_the_parts_and_a_refund_that_fails_brings_them_again(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 30_000))
    assert available(by_month) == 0
    wait(by_month, 60)
    assert available(by_month) == 0
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 30_000, "failed"))
    wait(by_month, 1)
    assert available(by_month) == 315 * USD


def test_a_partial_refund_takes_its_share_of_every_part(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 10_000))
    assert available(by_month) == 70 * USD
    wait(by_month, 70)
    assert available(by_month) == 210 * USD, "two thirds of the money, two thirds of the credits"


def test_a_refund_takes_the_bonus_of_every_part_before_the_newest_base_lot(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    wait(by_month, 70)
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 15_000))
    with reading(by_month.db) as session:
        *_, taken = rows_of(session, ACCOUNT)
    assert [entry.credits for entry in taken.entries] == [-5 * USD, -5 * USD, -5 * USD, -100 * USD, -42_500_000]
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 15_000, "failed"))
    assert left(by_month, purchase) == [100 * USD, 100 * USD, 100 * USD, 5 * USD, 5 * USD, 5 * USD]


def test_what_comes_back_of_a_plan_returns_to_its_base_first(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    wait(by_month, 70)
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 15_000))
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_2", 10_000))
    assert left(by_month, purchase) == [52_500_000, 0, 0, 0, 0, 0]
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 15_000, "failed"))
    assert left(by_month, purchase) == [100 * USD, 100 * USD, 10 * USD, 0, 0, 0]


def left(world: World, purchase: PurchaseRow) -> list[int]:
    """What remains of the plan's lots, base before bonus."""
    with reading(world.db) as session:
        return [lot.remaining_credits for lot in purchase_lots(session, ACCOUNT, purchase.purchase_id)]


def test_a_refund_that_is_known_before_its_payment_takes_its_share_of_the_first_part_too(by_month: World) -> None:
    purchase = commit(by_month)
    refund = by_month.refund_elsewhere(purchase, "re_1", 10_000)
    by_month.deliver(replace(refund, purchase_id=purchase.purchase_id, account_id=ACCOUNT))
    by_month.deliver(by_month.pay(purchase))
    assert available(by_month) == 70 * USD
    wait(by_month, 70)
    assert available(by_month) == 210 * USD


def test_an_untouched_plan_is_reversed_within_its_day_and_no_part_follows(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    landed = available(by_month)
    reversal, _ = reverse_purchase(by_month.runtime, purchase.purchase_id, "a mistake", "support:Sam")
    assert reversal.credits == landed, "what is said to be taken is what has landed"
    by_month.jobs.run_due()
    wait(by_month, 100)
    assert available(by_month) == 0
    assert by_month.purchase(purchase).status == "refunded"


def test_what_was_spent_of_a_plan_whose_money_went_back_is_owed(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    by_month.posted(debit(ACCOUNT, 40 * USD))
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 30_000))
    with reading(by_month.db) as session:
        wallet = wallet_of(session, ACCOUNT)
    assert (wallet.available_credits, wallet.debt_credits) == (0, 40 * USD)


@pytest.mark.parametrize("parts", [(20_000,), (15_000, 5_000), (5_000, 5_000, 10_000)])
def test_refunds_from_here_of_a_plan_that_lands_in_parts_take_together_their_share_of_the_whole(
    by_month: World, parts: tuple[int, ...]
) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    named = [refund(by_month, purchase, minor, by="admin:ada").credits for minor in parts]
    assert named == [minor * 315 * USD // 30_000 for minor in parts]
    wait(by_month, 100)
    assert available(by_month) == 105 * USD, "a third of the money, a third of the credits"


def test_a_refund_from_here_after_one_elsewhere_takes_its_own_share_of_the_whole(by_month: World) -> None:
    purchase = commit(by_month)
    by_month.deliver(by_month.pay(purchase))
    by_month.deliver(by_month.refund_elsewhere(purchase, "re_1", 15_000))
    assert refund(by_month, purchase, 5_000, by="admin:ada").credits == 52_500_000
    wait(by_month, 100)
    assert available(by_month) == 105 * USD


def test_a_part_that_is_due_twice_at_once_lands_once(by_month: World) -> None:
    by_month.deliver(by_month.pay(commit(by_month)))
    by_month.clock.advance(timedelta(days=31))
    by_month.jobs.run_due()
    by_month.jobs.run_due()
    with reading(by_month.db) as session:
        (row,) = [session.get(CommitRow, (ACCOUNT, p.purchase_id)) for p in _purchases(by_month)]
    assert row is not None and row.parts_landed == 2
    assert available(by_month) == 210 * USD


def _purchases(world: World) -> list[PurchaseRow]:
    from sqlmodel import select

    with reading(world.db) as session:
        return list(session.exec(select(PurchaseRow)).all())


def test_a_plan_nobody_sells_is_refused(eco: World) -> None:
    order = topups.CheckoutOrder(
        account_id=ACCOUNT, actor="account:test", amount=Money(30_000, "USD"), commit_plan="commit-99"
    )
    with pytest.raises(Invalid):
        topups.start_checkout(eco.runtime, order)


@pytest.mark.parametrize(
    ("plan_id", "base", "bonus"), [("commit-3", 300, 15), ("commit-6", 600, 60), ("commit-12", 1200, 180)]
)
def test_the_shipped_plans_give_this(plan_id: str, base: int, bonus: int) -> None:
    from engine.catalogs import load_catalog

    catalog = load_catalog("ecolink")
    plan = catalog.commit_plan(plan_id)
    assert plan is not None
    assert commit_credits(plan, catalog.pricing) == (base * USD, bonus * USD)


@pytest.mark.parametrize(("whole", "parts"), [(100, 3), (7, 12), (1, 1), (315_000_001, 3), (0, 6)])
def test_the_parts_are_the_whole(whole: int, parts: int) -> None:
    cut = [part_of(whole, number, parts) for number in range(1, parts + 1)]
    assert sum(cut) == whole and max(cut) - min(cut) <= 1
