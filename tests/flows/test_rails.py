"""A rail that was switched off, and a row or a job that fails: everybody else's are carried on all the same."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select, update

from engine.audit import audit
from engine.flows import expiry, quarantine, refunds
from engine.jobs import Jobs
from engine.rules.errors import RefundNotPossible, Unavailable
from engine.store.database import Database, reading, transact
from engine.store.tables import PurchaseRow, SandboxSubscriptionRow
from tests.api.host import assert_problem
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock, wallet_of
from tests.flows.test_commits import USD, commit, monthly
from tests.flows.world import ACCOUNT, World, open_world


@pytest.fixture
def by_month(db: Database, clock: FakeClock) -> Iterator[World]:
    """EcoLink's commit plans, a part each month."""
    opened = open_world(db, clock, "ecolink")
    opened.runtime = replace(opened.runtime, catalog=monthly(opened.runtime.catalog))
    opened.jobs = Jobs(opened.runtime)
    yield opened
    opened.close()


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    made.runtime.group.close()


def providers(world: World | Subscriber) -> dict[str, Any]:
    rails = world.runtime.providers
    assert isinstance(rails, dict)
    return rails


def available(world: World) -> int:
    with reading(world.db) as session:
        return wallet_of(session, ACCOUNT).available_credits


def assert_clean(world: World) -> None:
    assert audit(world.db, world.runtime.secrets.all_for("ledger chain")).findings == []


def test_the_parts_of_a_plan_land_though_its_rail_is_off(by_month: World) -> None:
    by_month.deliver(by_month.pay(commit(by_month)))
    providers(by_month).clear()
    by_month.clock.advance(timedelta(days=32))
    by_month.jobs.run_due()
    assert available(by_month) == 210 * USD
    assert_clean(by_month)


def test_a_part_that_fails_stops_no_other_and_is_tried_again(by_month: World) -> None:
    broken, sound = commit(by_month), commit(by_month)
    by_month.deliver(by_month.pay(broken), by_month.pay(sound))
    paid_by = by_month.purchase(broken).provider_reference

    def name(payment_id: str | None) -> None:
        changed = update(PurchaseRow).where(PurchaseRow.purchase_id == broken.purchase_id)  # type: ignore[arg-type]
        transact(by_month.db, lambda session: session.execute(changed.values(provider_reference=payment_id)))

    name(None)
    by_month.clock.advance(timedelta(days=32))
    by_month.jobs.run_due()
    assert available(by_month) == 315 * USD
    name(paid_by)
    by_month.jobs.run_due()
    assert available(by_month) == 315 * USD, "it waits a while"
    by_month.clock.advance(timedelta(minutes=15))
    by_month.jobs.run_due()
    assert available(by_month) == 420 * USD
    assert_clean(by_month)


def test_a_proposed_reversal_is_rejected_though_its_rail_is_off(world: World) -> None:
    purchase = world.buy(60_000)
    world.deliver(world.pay(purchase))
    before = available(world)
    proposed, _ = refunds.reverse_purchase(world.runtime, purchase.purchase_id, "asked", "support:ann")
    assert (proposed.status, available(world)) == ("pending_approval", 0)
    providers(world).clear()
    rejected, _ = refunds.decide_reversal(world.runtime, proposed.reversal_id, "approver:ben", approve=False)
    assert (rejected.status, available(world)) == ("rejected", before)
    assert world.purchase(purchase).status == "paid"
    assert_clean(world)


@pytest.mark.parametrize("is_live", [False, True])
def test_a_payment_in_the_wrong_mode_is_not_credited_because_its_rail_is_off(world: World, is_live: bool) -> None:
    """Our keys were of the mode in which they began the session, whatever the payment is of."""
    world.provider.is_live = is_live
    purchase = world.buy(60_000)
    world.deliver(replace(world.pay(purchase), live=not is_live))
    ruling = quarantine.Ruling(purchase_id=purchase.purchase_id, action="refund", reason="x", actor="support:ann")
    reversal_id = quarantine.rule(world.runtime, ruling).resolution.reversal_id
    assert reversal_id is not None
    providers(world).clear()
    refunds.decide_reversal(world.runtime, reversal_id, "approver:ben", approve=False)
    assert (world.purchase(purchase).status, available(world)) == ("quarantined", 0)
    with pytest.raises(RefundNotPossible):
        quarantine.rule(world.runtime, ruling)


def test_what_a_person_decides_of_a_payment_is_done_though_its_rail_is_off(world: World) -> None:
    purchase = world.buy(1_000)
    world.deliver(world.pay(purchase, minor=900))
    providers(world).clear()
    ruling = quarantine.Ruling(purchase_id=purchase.purchase_id, action="credit", reason="x", actor="support:ann")
    assert quarantine.rule(world.runtime, ruling).purchase.status == "paid"
    assert available(world) == 10_000_000
    assert_clean(world)


def test_a_checkout_that_was_not_answered_is_refused_while_its_rail_is_off(world: World) -> None:
    world.provider.is_down = True
    with pytest.raises(Unavailable):
        world.buy(key="k")
    world.provider.is_down = False
    rails = providers(world)
    stripe = rails.pop("stripe")
    with pytest.raises(Unavailable, match="Stripe is not offered any more"):
        world.buy(key="k")
    rails["stripe"] = stripe
    purchase = world.buy(key="k")
    assert (purchase.status, world.provider.checkouts_asked) == ("open", 1)


def test_a_subscription_that_was_not_begun_is_refused_while_its_rail_is_off(mira: Subscriber) -> None:
    path, body = f"{mira.path}/subscription/change", {"plan": "pro", "interval": "month"}
    mira.sandbox.is_down = True
    assert_problem(mira.host.post(path, body, key="k"), 503, "UNAVAILABLE")
    mira.sandbox.is_down = False
    sandbox = providers(mira).pop("sandbox")
    refused = assert_problem(mira.host.post(path, body, key="k"), 503, "UNAVAILABLE")
    assert "is not offered any more" in refused["detail"]
    providers(mira)["sandbox"] = sandbox
    assert mira.host.post(path, body, key="k").json()["checkoutUrl"]


def test_a_closed_accounts_subscription_is_cancelled_once_its_rail_is_on_again(mira: Subscriber) -> None:
    mira.subscribe("pro")
    sandbox = providers(mira).pop("sandbox")
    admin = mira.host.new_key("admin")
    answer = mira.host.post("/v1/admin/accounts/sub1/close", {"reason": "asked by mail"}, bearer=admin)
    assert answer.status_code == 200, answer.text
    mira.jobs.run_due()
    providers(mira)["sandbox"] = sandbox
    mira.wait(minutes=5)
    with reading(mira.runtime.db) as session:
        assert session.exec(select(SandboxSubscriptionRow.cancel_at_period_end)).all() == [True]


def test_a_subscription_that_fails_stops_no_other_and_is_looked_at_again(
    mira: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira.subscribe("pro", "year")
    other = replace(mira, path=mira.host.open("sub2"))
    other.subscribe("base", "year")
    broken = mira.subscription()["reference"]
    ask = mira.sandbox.subscription

    def asked(reference: str) -> Any:
        if reference == broken:
            raise RuntimeError("a word nobody expected")
        return ask(reference)

    with monkeypatch.context() as patch:
        patch.setattr(mira.sandbox, "subscription", asked)
        mira.wait(days=32)
    months = [sum(credits for kind, credits in each.rows() if kind == "monthly_credit") for each in (mira, other)]
    assert months == [10_100, 6_100]
    mira.jobs.run_due()
    assert mira.monthly() == 0, "it waits a while"
    mira.wait(minutes=15)
    assert mira.monthly() == 10_000 and mira.is_clean()


def test_a_job_that_fails_stops_none_of_the_round(by_month: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> int:
        raise RuntimeError("a job of ours is broken")

    by_month.deliver(by_month.pay(commit(by_month)))
    monkeypatch.setattr(expiry, "expire_due", fails)
    by_month.clock.advance(timedelta(days=32))
    with pytest.raises(ExceptionGroup, match="jobs failed"):
        by_month.jobs.run_due()
    assert available(by_month) == 210 * USD
