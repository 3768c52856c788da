"""The books of a month in which a part of a purchase goes back: the money that moved, to the last minor unit."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from msgspec.structs import replace as with_fields

from api.exports import export_month, read_month
from engine.rules.finance import RollForward
from engine.store.database import Database
from tests.engine.support import FakeClock, debit
from tests.engine.test_finance import table
from tests.flows.test_commits import commit
from tests.flows.test_policy_refunds import refund
from tests.flows.test_purchase_coupons import COUPONS
from tests.flows.world import ACCOUNT, World, open_world

USD = 1_000_000


@pytest.fixture
def eco(db: Database, clock: FakeClock) -> Iterator[World]:
    opened = open_world(db, clock, "ecolink")
    yield opened
    opened.close()


@pytest.fixture
def acn(db: Database, clock: FakeClock) -> Iterator[World]:
    """Bonus tiers, a coupon and refunds of the unused part."""
    opened = open_world(db, clock)
    catalog = opened.runtime.catalog
    rules = with_fields(catalog.refunds, policy="unused_part")
    opened.runtime = replace(opened.runtime, catalog=with_fields(catalog, coupons=COUPONS, refunds=rules))
    yield opened
    opened.close()


def books(world: World, out: Path) -> RollForward:
    """The month's figures; its journal clears the money that moved."""
    made = export_month(world.db, read_month(f"{world.clock.now():%Y-%m}"), out)
    cleared = sum(
        int(row["debitMinor"]) - int(row["creditMinor"])
        for row in table(made, "journal")
        if row["ledgerAccount"] == "payments_clearing"
    )
    figures = made.figures["USD"]
    assert cleared == figures.sold - figures.refunded
    return figures


def test_a_tenth_of_a_commit_plan_takes_a_tenth_of_its_money(eco: World, tmp_path: Path) -> None:
    bought = commit(eco, "commit-6")
    eco.deliver(eco.pay(bought))
    eco.deliver(eco.refund_elsewhere(bought, "re_1", 6_000))
    assert books(eco, tmp_path) == RollForward(sold=60_000, refunded=6_000)
    eco.posted(debit(ACCOUNT, 594 * USD))
    assert books(eco, tmp_path) == RollForward(sold=60_000, refunded=6_000, recognised=54_000)


def test_a_refund_that_fails_brings_back_what_it_took(eco: World, tmp_path: Path) -> None:
    bought = commit(eco, "commit-6")
    eco.deliver(eco.pay(bought))
    eco.posted(debit(ACCOUNT, 600 * USD))
    eco.deliver(eco.refund_elsewhere(bought, "re_1", 6_000))
    assert books(eco, tmp_path) == RollForward(sold=60_000, refunded=6_000, recognised=54_000)
    eco.deliver(eco.refund_elsewhere(bought, "re_1", 6_000, "failed"))
    assert books(eco, tmp_path) == RollForward(sold=60_000, recognised=60_000)


def test_refunds_of_a_purchase_with_bonus_and_coupon_take_their_money_whatever_they_take_of_its_lots(
    acn: World, tmp_path: Path
) -> None:
    bought = acn.buy(50_000, coupon="MORE20")
    acn.deliver(acn.pay(bought))
    acn.deliver(acn.refund_elsewhere(bought, "re_1", 1))
    acn.deliver(acn.refund_elsewhere(bought, "re_2", 3_333))
    assert books(acn, tmp_path) == RollForward(sold=50_000, refunded=3_334)
    acn.posted(debit(ACCOUNT, 7 * USD + 7))
    acn.deliver(acn.refund_elsewhere(bought, "re_3", 46_666))
    assert books(acn, tmp_path) == RollForward(sold=50_000, refunded=50_000)


def test_the_unused_part_leaves_what_was_kept_of_its_money(acn: World, tmp_path: Path) -> None:
    bought = acn.buy(50_000)
    acn.deliver(acn.pay(bought))
    acn.posted(debit(ACCOUNT, 100 * USD + 1))
    asked = refund(acn, bought, 10_000)
    acn.jobs.run_due()
    told = books(acn, tmp_path)
    assert asked.amount_minor == told.refunded == 10_000
    assert (told.recognised + told.breakage, told.closing) == (40_000, 0)


@pytest.mark.parametrize(("outcome", "kept"), [("won", 50_000), ("lost", 0)])
def test_a_dispute_takes_what_is_left_until_it_is_decided(acn: World, tmp_path: Path, outcome: str, kept: int) -> None:
    bought = acn.buy(50_000)
    acn.deliver(acn.pay(bought))
    acn.posted(debit(ACCOUNT, 400 * USD))
    before = books(acn, tmp_path)
    acn.deliver(acn.dispute(bought, "open"))
    open_ = books(acn, tmp_path)
    assert 0 < open_.refunded < 50_000
    acn.deliver(acn.dispute(bought, outcome))
    told = books(acn, tmp_path)
    assert told.refunded == 50_000 - kept
    assert told.recognised + told.breakage + told.closing == kept
    assert told == before or outcome == "lost"
