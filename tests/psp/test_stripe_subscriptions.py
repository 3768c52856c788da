"""A subscription at Stripe through its life: begun, renewed, failed and recovered, changed, cancelled, refunded."""

from collections.abc import Iterator

import msgspec
import pytest

from engine.rules.catalog import Catalog
from engine.store.database import Database
from psp.stripe import Stripe
from tests.api.host import assert_problem
from tests.engine.support import FakeClock
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_objects import Json
from tests.psp.stripe_subscriber import StripeCustomer, open_customer


@pytest.fixture
def mira(db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe) -> Iterator[StripeCustomer]:
    made = open_customer(db, clock, fake, rail)
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def test_a_paid_checkout_begins_the_plan_with_its_credits_and_a_payment(mira: StripeCustomer) -> None:
    now = mira.begin("pro")
    assert (now["plan"], now["status"], now["provider"]) == ("pro", "active", "stripe")
    assert now["currentPeriodEnd"] == "2026-12-02T09:30:00Z"
    assert mira.monthly() == 10_100
    (payment,) = mira.payments()
    assert (payment["amountMinor"], payment["status"], payment["creditsGranted"]) == (4_900, "completed", "10000")
    assert payment["receiptUrl"].startswith("https://invoice.stripe.com/")


def test_each_renewal_is_paid_and_granted_once(mira: StripeCustomer) -> None:
    mira.begin("pro")
    mira.wait(days=31)
    assert mira.monthly() == 10_000 and mira.subscription()["currentPeriodEnd"] == "2027-01-02T09:30:00Z"
    mira.bring(mira.fake.events)
    mira.bring(reversed(mira.fake.events))
    assert mira.monthly() == 10_000 and [p["amountMinor"] for p in mira.payments()] == [4_900, 4_900]


def test_a_year_is_paid_once_and_granted_by_the_month(mira: StripeCustomer) -> None:
    assert mira.begin("base", "year")["interval"] == "year"
    for _ in range(3):
        mira.wait(days=31)
        assert mira.monthly() == 3_000
    assert [p["amountMinor"] for p in mira.payments()] == [19_000]


def test_a_declined_renewal_is_past_due_without_credits_until_it_is_paid(mira: StripeCustomer) -> None:
    mira.begin("pro")
    mira.fake.card_declines = True
    mira.wait(days=31)
    assert (mira.subscription()["status"], mira.monthly()) == ("past_due", 0)
    assert "subscriptionPastDue" in mira.notices()
    mira.fake.card_declines = False
    mira.fake.pay_open(mira.reference)
    mira.hear()
    assert (mira.subscription()["status"], mira.monthly(), len(mira.payments())) == ("active", 10_000, 2)


def test_nobody_who_never_pays_keeps_the_plan(mira: StripeCustomer) -> None:
    mira.begin("pro")
    mira.fake.card_declines = True
    mira.wait(days=31)
    mira.wait(days=4)
    mira.fake.end(mira.reference)
    mira.hear()
    assert mira.subscription()["plan"] == "free"
    assert {"subscriptionPastDue", "subscriptionEnded"} <= set(mira.notices())


@pytest.mark.parametrize(("days", "seconds", "late"), [(0, 0, 0), (7, 1_234.567891, 300), (29, 85_000.25, 899)])
def test_an_upgrade_costs_what_its_preview_said_to_the_cent(
    mira: StripeCustomer, days: int, seconds: float, late: int
) -> None:
    mira.begin("base")
    mira.wait(days=days, seconds=seconds)
    before = mira.monthly()
    shown = mira.preview("pro")
    mira.wait(seconds=late)
    now = mira.change("pro")
    assert (now["plan"], now["currentPeriodEnd"]) == ("pro", "2026-12-02T09:30:00Z")
    charged = sorted(p["amountMinor"] for p in mira.payments())
    assert charged == sorted([1_900, *([shown["dueNowMinor"]] if shown["dueNowMinor"] else [])])
    assert mira.monthly() == before + int(shown["monthlyCreditsNow"])
    owed = mira.fake.every("invoice")[0]["ending_balance"]
    assert shown["nextAmountMinor"] == 4_900 + owed
    mira.wait(days=31 - days)
    assert mira.monthly() == 10_000 and mira.payments()[0]["amountMinor"] == shown["nextAmountMinor"]


def test_an_upgrade_that_the_bank_declines_changes_nothing(mira: StripeCustomer) -> None:
    mira.begin("base")
    mira.fake.card_declines = True
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"})
    assert_problem(answer, 503, "UNAVAILABLE")
    mira.hear()
    assert (mira.subscription()["plan"], mira.monthly(), len(mira.payments())) == ("base", 3_100, 1)


def test_an_upgrade_whose_answer_was_lost_is_made_once(mira: StripeCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    make = mira.fake.update_subscription

    def lossy(subscription_id: str, given: Json) -> Json:
        mira.fake.drop(times=3)
        return make(subscription_id, given)

    mira.fake.update_subscription = lossy  # type: ignore[method-assign]
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
    assert_problem(answer, 503, "UNAVAILABLE")
    mira.fake.forget_keys()
    for _ in range(2):
        answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
        assert answer.status_code == 200 and answer.json()["plan"] == "pro"
    mira.hear()
    assert len(mira.payments()) == 2


@pytest.mark.parametrize(("plan", "interval", "monthly"), [("base", "month", 3_000), ("pro", "year", 10_000)])
def test_a_lower_plan_and_another_interval_come_with_the_next_period(
    mira: StripeCustomer, plan: str, interval: str, monthly: int
) -> None:
    mira.begin("pro")
    now = mira.change(plan, interval)
    assert (now["plan"], now["interval"], now["pendingPlan"]) == ("pro", "month", plan)
    assert len(mira.payments()) == 1
    mira.wait(days=31)
    now = mira.subscription()
    assert (now["plan"], now["interval"], now["pendingPlan"]) == (plan, interval, None)
    assert mira.monthly() == monthly
    now = mira.change("elite", interval)
    assert now["plan"] == "elite", "what a schedule brought can be changed again"


def test_what_is_planned_can_be_planned_anew_and_taken_back(mira: StripeCustomer) -> None:
    mira.begin("elite")
    assert mira.change("pro")["pendingPlan"] == "pro"
    assert mira.change("base")["pendingPlan"] == "base"
    assert mira.change("elite")["pendingPlan"] is None
    mira.wait(days=31)
    assert (mira.subscription()["plan"], mira.monthly()) == ("elite", 40_000)


def test_a_cancelled_plan_ends_with_its_period_unless_it_is_taken_back(mira: StripeCustomer) -> None:
    mira.begin("pro")
    assert mira.change("base")["pendingPlan"] == "base"
    now = mira.act("cancel")
    assert (now["cancelAtPeriodEnd"], now["pendingPlan"]) == (True, None)
    assert mira.act("reactivate")["cancelAtPeriodEnd"] is False
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    mira.wait(days=31)
    assert mira.subscription()["plan"] == "free" and len(mira.payments()) == 1


def test_a_paused_plan_stands_while_it_is_paid_and_begins_anew_when_resumed(mira: StripeCustomer) -> None:
    mira.begin("pro")
    assert mira.act("pause")["status"] == "paused"
    assert mira.act("resume")["status"] == "active"
    assert len(mira.payments()) == 1, "resumed within what is paid costs nothing"
    mira.act("pause")
    mira.wait(days=31)
    mira.wait(days=40)
    now = mira.subscription()
    assert (now["plan"], now["status"], mira.host.buckets(mira.path)["monthly"]) == ("free", "paused", 100)
    now = mira.act("resume")
    assert (now["plan"], now["status"], len(mira.payments())) == ("pro", "active", 2)
    assert now["currentPeriodStart"] == "2027-01-12T09:30:00Z"


def test_a_refund_of_an_invoice_takes_back_what_is_left(mira: StripeCustomer) -> None:
    mira.begin("pro")
    mira.host.spend(mira.path, 1_100)
    reference = mira.payments()[0]["providerReference"]
    mira.fake.refund(reference)
    mira.hear()
    assert mira.monthly() == 0 and mira.payments()[0]["status"] == "refunded"
    assert mira.host.balance(mira.path)["debtCredits"] == "0"


def test_a_dispute_of_an_invoice_holds_its_credits_until_it_is_won(mira: StripeCustomer) -> None:
    mira.begin("pro")
    dispute = mira.fake.dispute(mira.payments()[0]["providerReference"])
    mira.hear()
    assert (mira.monthly(), mira.payments()[0]["status"]) == (100, "disputed")
    mira.fake.move_dispute(dispute, "won")
    mira.hear()
    assert (mira.monthly(), mira.payments()[0]["status"]) == (10_100, "completed")


@pytest.mark.parametrize("lost", ["customer.", "invoice.", "checkout.", ""])
def test_events_that_are_lost_are_made_up_for_by_a_look_at_stripe(mira: StripeCustomer, lost: str) -> None:
    types = {"customer.subscription.created", "customer.subscription.updated", "customer.subscription.deleted"}
    types |= {"invoice.finalized", "invoice.paid", "invoice.voided", "checkout.session.completed"}
    mira.loses = frozenset(name for name in types if name.startswith(lost))
    mira.begin("pro")
    mira.wait(minutes=31)
    assert (mira.subscription()["plan"], mira.monthly()) == ("pro", 10_100)
    mira.wait(days=31)
    mira.wait(hours=2)
    assert mira.monthly() == 10_000 and len(mira.payments()) == 2


def test_events_in_any_order_make_the_same_books(mira: StripeCustomer) -> None:
    url = mira.change("base", "month")["checkoutUrl"]
    mira.fake.subscribe(url.rpartition("/")[2])
    mira.bring(reversed(mira.fake.events))
    mira.heard = len(mira.fake.events)
    mira.wait(days=5)
    mira.change("pro")
    mira.wait(days=26)
    amounts = [p["amountMinor"] for p in mira.payments()]
    rows = mira.rows()
    mira.bring(list(reversed(mira.fake.events)) * 2)
    assert [p["amountMinor"] for p in mira.payments()] == amounts and mira.rows() == rows and len(amounts) == 3


def test_a_trial_costs_nothing_and_gives_its_own_credits(
    db: Database, clock: FakeClock, fake: FakeStripe, rail: Stripe
) -> None:
    def with_trial(catalog: Catalog) -> Catalog:
        plans = [
            msgspec.structs.replace(plan, trial_days=14, trial_credits=500) if plan.id == "pro" else plan
            for plan in catalog.plans
        ]
        return msgspec.structs.replace(catalog, plans=tuple(plans))

    mira = open_customer(db, clock, fake, rail, change=with_trial)
    assert mira.begin("pro")["status"] == "trialing"
    assert (mira.monthly(), mira.payments()) == (600, [])
    mira.wait(days=14)
    assert (mira.subscription()["status"], mira.monthly()) == ("active", 10_100)
    assert [p["amountMinor"] for p in mira.payments()] == [4_900]
    assert mira.is_clean()
    mira.runtime.group.close()


def test_another_checkout_expires_the_one_before_it_at_stripe(mira: StripeCustomer) -> None:
    base, pro, again = (mira.change(plan, "month")["checkoutUrl"] for plan in ("base", "pro", "pro"))
    assert again == pro != base
    assert mira.fake.get(base.rpartition("/")[2], "checkout.session")["status"] == "expired"
    mira.fake.expire(pro.rpartition("/")[2])
    anew = mira.change("pro", "month")["checkoutUrl"]
    assert anew != pro, "what has ended is not handed out"
    mira.fake.subscribe(anew.rpartition("/")[2])
    mira.hear()
    assert mira.subscription()["plan"] == "pro" and len(mira.payments()) == 1


def test_a_closed_accounts_subscription_is_cancelled_at_stripe(mira: StripeCustomer) -> None:
    mira.begin("pro")
    assert mira.change("base")["pendingPlan"] == "base"
    admin = mira.host.new_key("admin", name="Kim")
    answer = mira.host.post("/v1/admin/accounts/sub1/close", {"reason": "asked by mail"}, bearer=admin)
    assert answer.status_code == 200
    mira.hear()
    assert mira.fake.get(mira.reference, "subscription")["cancel_at_period_end"] is True
    mira.wait(days=31)
    assert (mira.fake.get(mira.reference, "subscription")["status"], len(mira.payments())) == ("canceled", 1)


def test_a_pause_after_an_upgrade_still_ends_with_what_was_paid(mira: StripeCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    mira.change("pro")
    now = mira.act("pause")
    assert (now["status"], now["currentPeriodStart"]) == ("paused", "2026-11-02T09:30:00Z")
    paused = mira.host.post(f"{mira.path}/subscription/change", {"plan": "elite"})
    assert_problem(paused, 503, "UNAVAILABLE")
    mira.wait(days=21)
    assert mira.subscription()["plan"] == "free" and len(mira.payments()) == 2


def test_support_gives_a_subscription_payment_back_through_stripe(mira: StripeCustomer) -> None:
    mira.begin("pro")
    purchase = mira.payments()[0]
    support = mira.host.new_key("support", name="Ada")
    where = f"/v1/support/purchases/{purchase['id']}/reversals"
    answer = mira.host.post(where, {"reason": "asked at once"}, bearer=support)
    assert answer.status_code == 202, answer.text
    mira.hear()
    assert [refund["amount"] for refund in mira.fake.every("refund")] == [4_900]
    assert (mira.monthly(), mira.payments()[0]["status"]) == (100, "refunded")
    mira.bring(mira.fake.events)
    assert mira.monthly() == 100 and len(mira.fake.every("refund")) == 1
