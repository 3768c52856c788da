"""Subscriptions over HTTP on both databases: starting, changing, failing, ending, and what each costs and gives."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from msgspec.structs import replace
from sqlmodel import Session, select

from api import sandbox_returns as returns
from api import sandbox_subscriptions as books
from engine.rules.periods import period_start
from engine.store.database import reading, transact
from engine.store.tables import ReplyRow, SandboxSubscriptionRow, SubscriptionInvoiceRow
from tests.api.host import assert_problem
from tests.api.subscriber import Subscriber, restarted
from tests.engine.support import DAY_0


def test_an_account_without_a_subscription_has_the_first_plan(mira: Subscriber) -> None:
    assert mira.subscription() == {
        "plan": "free",
        "interval": None,
        "status": "active",
        "provider": None,
        "currentPeriodStart": "2026-11-02T09:30:00Z",
        "currentPeriodEnd": "2026-12-02T09:30:00Z",
        "cancelAtPeriodEnd": False,
        "pendingPlan": None,
        "monthlyCredits": "100",
        "reference": None,
        "checkoutUrl": None,
    }


@pytest.mark.parametrize("button", ["pay", "pay-twice", "pay-shuffled"])
def test_a_paid_checkout_begins_the_plan_and_grants_its_month_once(mira: Subscriber, button: str) -> None:
    assert mira.preview("pro", "month") == {
        "dueNowMinor": 4_900,
        "creditNowMinor": 0,
        "nextAmountMinor": 4_900,
        "nextAt": "2026-12-02T09:30:00Z",
        "effectiveAt": "2026-11-02T09:30:00Z",
        "monthlyCreditsNow": "10000",
        "currency": "USD",
    }
    begun = mira.change("pro", "month")
    assert (begun["plan"], begun["status"], begun["pendingPlan"]) == ("free", "incomplete", "pro")
    assert mira.subscription()["plan"] == "free"
    mira.press(begun["checkoutUrl"], button)
    now = mira.subscription()
    assert (now["plan"], now["interval"], now["status"], now["provider"]) == ("pro", "month", "active", "sandbox")
    assert (now["monthlyCredits"], now["currentPeriodEnd"]) == ("10000", "2026-12-02T09:30:00Z")
    assert mira.monthly() == 10_100, "Free's own hundred stay until they expire"
    (payment,) = mira.payments()
    assert (payment["status"], payment["amountMinor"], payment["creditsGranted"]) == ("completed", 4_900, "10000")
    assert payment["receiptUrl"] is not None
    assert mira.is_clean()


@pytest.mark.parametrize("button", ["decline", "cancel", "expire"])
def test_a_checkout_that_is_not_paid_changes_nothing(mira: Subscriber, button: str) -> None:
    mira.subscribe("pro", button=button)
    mira.wait(hours=1)
    assert mira.subscription()["plan"] == "free" and mira.monthly() == 100 and mira.payments() == []


def test_another_amount_than_agreed_goes_to_review_and_gives_nothing(mira: Subscriber) -> None:
    mira.subscribe("pro", button="pay-wrong-amount")
    assert mira.subscription()["plan"] == "free" and mira.monthly() == 100
    assert [(p["status"], p["amountMinor"], p["creditsGranted"]) for p in mira.payments()] == [("review", 2_450, "0")]
    with reading(mira.runtime.db) as session:
        assert session.exec(select(SubscriptionInvoiceRow.problem)).one() == "asked $24.50, agreed $49.00"
    assert mira.is_clean()


def test_an_upgrade_costs_what_its_preview_said_and_adds_its_part_of_the_month(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.wait(days=10)
    seen = mira.preview("elite")
    assert (seen["dueNowMinor"], seen["monthlyCreditsNow"]) == (13_000 * 20 // 30, str(37_000 * 20 // 30))
    mira.wait(minutes=9)
    now = mira.change("elite")
    assert (now["plan"], now["currentPeriodEnd"], now["checkoutUrl"]) == ("elite", "2026-12-02T09:30:00Z", None)
    payment = mira.payments()[0]
    assert (payment["amountMinor"], payment["creditsGranted"]) == (seen["dueNowMinor"], seen["monthlyCreditsNow"])
    assert mira.monthly() == 100 + 3_000 + int(seen["monthlyCreditsNow"])
    mira.wait_until("2026-12-02T09:30:00Z")
    mira.play("renew")
    assert mira.monthly() == 40_000 and mira.payments()[0]["amountMinor"] == 14_900
    assert mira.is_clean()


def test_a_downgrade_and_a_longer_interval_wait_for_the_periods_end(mira: Subscriber) -> None:
    mira.subscribe("pro")
    seen = mira.preview("base", "year")
    assert (seen["dueNowMinor"], seen["effectiveAt"], seen["monthlyCreditsNow"]) == (0, "2026-12-02T09:30:00Z", "0")
    now = mira.change("base", "year")
    assert (now["plan"], now["pendingPlan"]) == ("pro", "base")
    mira.wait_until("2026-12-02T09:30:00Z")
    mira.play("renew")
    now = mira.subscription()
    assert (now["plan"], now["interval"], now["pendingPlan"]) == ("base", "year", None)
    assert now["currentPeriodEnd"] == "2027-12-02T09:30:00Z" and mira.monthly() == 3_000


def test_a_year_paid_at_once_grants_month_by_month(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    assert mira.monthly() == 3_100
    for month in range(1, 12):
        mira.wait_until(period_start(DAY_0, month).isoformat())
        assert mira.monthly() == 3_000, "each month's lot replaces the one before"
    assert mira.payments()[0]["creditsGranted"] == "36000"
    assert mira.is_clean()


def test_a_refund_takes_what_is_left_and_ends_the_months_to_come(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    assert mira.host.spend(mira.path, 600).status_code == 201
    mira.refund_payment(mira.payments()[0]["providerReference"])
    assert mira.monthly() == 0 and mira.payments()[0]["status"] == "refunded"
    assert mira.host.balance(mira.path)["debtCredits"] == "0", "what was spent of a plan is not owed"
    mira.wait(days=40)
    assert mira.monthly() == 0
    assert mira.is_clean()


def test_a_failed_payment_has_its_grace_and_a_recovery_its_credits(mira: Subscriber) -> None:
    mira.subscribe("pro")
    end = mira.subscription()["currentPeriodEnd"]
    mira.wait_until(end)
    mira.play("payment-failed")
    now = mira.subscription()
    assert (now["plan"], now["status"]) == ("pro", "past_due") and mira.monthly() == 0
    mira.wait(days=2)
    mira.play("renew")
    assert mira.subscription()["status"] == "active" and mira.monthly() == 10_000
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    assert mira.subscription()["status"] == "active" and mira.monthly() == 0, "a renewal may take its hour"
    mira.wait(hours=1)
    assert mira.subscription()["status"] == "past_due", "nobody said anything of the next period"
    mira.wait(days=3)
    now = mira.subscription()
    assert (now["plan"], now["status"], now["provider"]) == ("free", "active", None) and mira.monthly() == 100
    mira.play("renew")
    assert mira.subscription()["plan"] == "pro" and mira.monthly() == 10_100, "money that came late counts"
    assert mira.is_clean()


def test_cancelled_is_until_the_periods_end_and_can_be_taken_back(mira: Subscriber) -> None:
    mira.subscribe("pro")
    mira.change("base")
    cancelled = mira.act("cancel")
    assert (cancelled["plan"], cancelled["cancelAtPeriodEnd"], cancelled["pendingPlan"]) == ("pro", True, None)
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    assert mira.act("reactivate")["cancelAtPeriodEnd"] is False
    assert mira.change("free")["cancelAtPeriodEnd"] is True, "the first plan is what a cancellation leads to"
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    assert mira.subscription()["plan"] == "free"
    assert_problem(mira.host.post(f"{mira.path}/subscription/reactivate"), 404, "NOT-FOUND")


def test_paused_keeps_what_is_paid_and_resumed_begins_anew(mira: Subscriber) -> None:
    mira.subscribe("pro")
    assert mira.act("pause")["status"] == "paused" and mira.subscription()["plan"] == "pro"
    mira.wait(days=45)
    now = mira.subscription()
    assert (now["plan"], now["status"], now["monthlyCredits"]) == ("free", "paused", "100")
    resumed = mira.act("resume")
    assert (resumed["plan"], resumed["status"]) == ("pro", "active")
    assert mira.monthly() == 10_100


def test_resumed_some_days_after_the_paid_period_a_new_one_begins_then(mira: Subscriber) -> None:
    end = mira.subscribe("base")["currentPeriodEnd"]
    mira.act("pause")
    mira.change("pro")
    resumed_at = mira.wait_until(end, days=4)
    now = mira.subscription()
    assert (now["plan"], now["monthlyCredits"], mira.monthly()) == ("free", "100", 100)
    resumed = mira.act("resume")
    period = [datetime.fromisoformat(resumed[f"currentPeriod{edge}"]) for edge in ("Start", "End")]
    assert period == [resumed_at, period_start(resumed_at, 1)]
    assert (resumed["monthlyCredits"], mira.monthly()) == ("10000", 10_100)
    assert sorted(payment["amountMinor"] for payment in mira.payments()) == [1_900, 3_000, 4_900]
    mira.wait_until(resumed["currentPeriodEnd"], hours=-1)
    assert mira.subscription()["plan"] == "pro"
    assert mira.is_clean()


def test_paused_while_overdue_the_period_that_was_not_paid_is_not_charged_when_resumed(mira: Subscriber) -> None:
    end = mira.subscribe("base")["currentPeriodEnd"]
    mira.wait_until(end)
    mira.play("payment-failed")
    mira.act("pause")
    resumed_at = mira.wait(days=4)
    resumed = mira.act("resume")
    assert datetime.fromisoformat(resumed["currentPeriodStart"]) == resumed_at
    assert [payment["amountMinor"] for payment in mira.payments()] == [1_900, 1_900]
    mira.wait_until(resumed["currentPeriodEnd"])
    mira.play("renew")
    assert len(mira.payments()) == 3 and mira.subscription()["status"] == "active"
    assert mira.is_clean()


def test_the_provider_may_end_it_at_once(mira: Subscriber) -> None:
    mira.subscribe("pro")
    mira.play("cancel")
    assert mira.subscription()["plan"] == "free" and mira.monthly() == 10_100, "what was paid for stays its month"


def test_events_in_any_order_and_number_end_in_the_same_books(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    events = mira.play("renew")
    ledger = mira.rows()
    for again in (events, tuple(reversed(events)), events):
        mira.tell(*[event.__class__(f"{event.id}x{n}", event.type, event.object) for n, event in enumerate(again)])
        assert mira.rows() == ledger


def test_a_key_answers_the_first_change_and_a_lost_answer_is_found_again(mira: Subscriber) -> None:
    mira.subscribe("base")
    path = f"{mira.path}/subscription/change"
    mira.sandbox.answers_lost = 1
    assert_problem(mira.host.post(path, {"plan": "pro"}, key="up"), 503, "UNAVAILABLE")
    first = mira.host.post(path, {"plan": "pro"}, key="up")
    mira.tell()
    assert first.status_code == 200 and first.json()["plan"] == "pro"
    mira.change("base")
    again = mira.host.post(path, {"plan": "pro"}, key="up")
    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert sorted(payment["amountMinor"] for payment in mira.payments()) == [1_900, 3_000]
    assert_problem(mira.host.post(path, {"plan": "elite"}, key="up"), 422, "IDEMPOTENCY-002")


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"plan": "gold", "interval": "month"}, 400, "INVALID"),
    ({"plan": "pro", "interval": "week"}, 400, "INVALID"),
    ({"plan": "pro"}, 400, "INVALID"),
    ({"plan": "free", "interval": "month"}, 400, "INVALID"),
    ({"plan": "pro", "interval": "month", "provider": "apple"}, 409, "PLAN-003"),
    ({"plan": "pro", "interval": "month", "provider": "stripe"}, 400, "INVALID"),
    ({"plan": "pro", "interval": "month", "successUrl": "https://evil.example/"}, 400, "BILLING-004"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED, ids=str)
def test_what_cannot_be_started_is_refused(mira: Subscriber, body: dict[str, Any], status: int, code: str) -> None:
    for act in ("preview", "change"):
        assert_problem(mira.host.post(f"{mira.path}/subscription/{act}", body), status, code)


def test_a_plan_one_has_is_no_change_and_without_a_subscription_nothing_is_cancelled(mira: Subscriber) -> None:
    assert_problem(mira.host.post(f"{mira.path}/subscription/cancel"), 404, "NOT-FOUND")
    mira.subscribe("pro")
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}), 400, "INVALID")


def test_plans_of_subscriptions_replace_the_hosts_and_entitlements_follow_at_once(mira: Subscriber) -> None:
    feature = f"{mira.path}/entitlements/api_access"
    refused = assert_problem(mira.host.get(feature), 403, "PLAN-002", plan="free", requiredPlan="pro", reason="plan")
    assert refused["upgradeUrl"].endswith("/account/subscribe") and refused["unlocks"] == "Pro"
    assert_problem(mira.host.post(f"{mira.path}/checkout", {"amountUsdCents": 2_000}), 403, "PLAN-001")
    mira.subscribe("pro")
    assert mira.host.get(feature).json() == {"feature": "api_access", "allowed": True, "value": True, "plan": "pro"}
    assert mira.host.post(f"{mira.path}/checkout", {"amountUsdCents": 2_000}).status_code == 201
    mira.play("cancel")
    assert mira.host.get(feature).status_code == 403


def test_webhooks_that_were_lost_are_made_up_for_when_time_asks(mira: Subscriber) -> None:
    begun = mira.change("base", "month")
    mira.sandbox.keep(lambda session, now: books.press(session, begun["checkoutUrl"].rpartition("/")[2], "pay", now))
    assert mira.subscription()["plan"] == "free"
    mira.wait(minutes=30)
    assert mira.subscription()["plan"] == "base" and mira.monthly() == 3_100
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    mira.sandbox.keep(lambda session, now: books.renew(session, "sub1", now))
    mira.wait(hours=1)
    assert mira.subscription()["status"] == "active" and mira.monthly() == 3_000
    assert len(mira.payments()) == 2 and mira.is_clean()


def test_an_hour_of_the_providers_silence_and_its_return_change_nothing(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    mira.sandbox.is_down = True
    mira.wait(hours=2)
    assert (mira.subscription()["plan"], mira.subscription()["status"]) == ("base", "past_due")
    assert_problem(mira.host.post(f"{mira.path}/subscription/cancel"), 503, "UNAVAILABLE")
    mira.sandbox.is_down = False
    mira.play("renew")
    assert mira.subscription()["status"] == "active" and mira.monthly() == 3_000


@pytest.mark.parametrize("key", ["same", None])
def test_many_who_press_at_once_subscribe_and_upgrade_once(mira: Subscriber, key: str | None) -> None:
    path = f"{mira.path}/subscription/change"

    def press(plan: str) -> list[Any]:
        with ThreadPoolExecutor(8) as pool:
            bodies = [{"plan": plan, "interval": "month"}] * 8
            return [answer.json() for answer in pool.map(lambda body: mira.host.post(path, body, key=key), bodies)]

    pages = {answer["checkoutUrl"] for answer in press("base") if answer["status"] == "incomplete"}
    assert len(pages) == 1
    mira.press(pages.pop(), "pay")
    if key is not None:
        key = "another"
    mira.wait(days=3)
    press("pro")
    mira.tell()
    assert mira.subscription()["plan"] == "pro" and len(mira.payments()) == 2
    assert mira.is_clean()


def test_a_dispute_holds_the_months_to_come_until_it_is_won(mira: Subscriber) -> None:
    mira.subscribe("base", "year")
    payment = mira.payments()[0]["providerReference"]
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.open_dispute(session, payment, now)).events)
    assert mira.monthly() == 100 and mira.payments()[0]["status"] == "disputed"
    mira.wait(days=31)
    assert mira.monthly() == 0
    mira.tell(*mira.sandbox.keep(lambda session, now: returns.close_dispute(session, payment, "won", now)).events)
    assert mira.monthly() == 3_000 and mira.payments()[0]["status"] == "completed"
    assert mira.is_clean()


def test_a_suspended_wallet_starts_nothing_and_a_closed_ones_money_goes_to_review(mira: Subscriber) -> None:
    mira.subscribe("base")
    admin = mira.host.new_key("admin")
    mira.host.post("/v1/admin/accounts/sub1/suspend", {"reason": "chargeback"}, bearer=admin)
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}), 403, "WALLET-001")
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    assert mira.act("reactivate")["cancelAtPeriodEnd"] is False
    mira.host.post("/v1/admin/accounts/sub1/close", {"reason": "fraud"}, bearer=admin)
    mira.sandbox.is_down = True  # so it renews before it can be told to end
    mira.wait(days=30)
    mira.sandbox.is_down = False
    mira.play("renew")
    assert [payment["status"] for payment in mira.payments()] == ["review", "completed"]
    assert mira.is_clean()


def test_a_process_that_died_before_it_kept_its_answer_ends_the_change_by_its_key(mira: Subscriber) -> None:
    mira.subscribe("base")
    path = f"{mira.path}/subscription/change"
    first = mira.host.post(path, {"plan": "pro"}, key="up")
    mira.tell()
    ledger = mira.rows()

    def die(session: Session) -> None:
        kept = session.get_one(ReplyRow, ("sub1", "subscription change", "up"))
        asked = session.exec(select(SandboxSubscriptionRow.last_key)).one()
        assert asked is not None
        kept.status, kept.answer = 202, asked.removeprefix("change:")
        session.add(kept)

    transact(mira.runtime.db, die)
    again = mira.host.post(path, {"plan": "pro"}, key="up")
    mira.tell()
    assert (again.status_code, again.json()) == (200, first.json())
    assert mira.rows() == ledger and len(mira.payments()) == 2 and mira.is_clean()


def test_an_upgrade_of_a_period_paid_early_costs_and_gives_what_its_preview_said(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.play("renew")
    assert mira.monthly() == 6_100
    seen = mira.preview("pro")
    assert (seen["dueNowMinor"], seen["monthlyCreditsNow"]) == (3_000, "7000")
    mira.change("pro")
    assert mira.monthly() == 13_100
    assert sorted(payment["amountMinor"] for payment in mira.payments()) == [1_900, 1_900, 3_000]


def test_a_plan_that_is_edited_keeps_its_old_terms_until_the_next_period(mira: Subscriber) -> None:
    mira.subscribe("base", "year")

    def dearer(catalog: Any) -> Any:
        plans = [plan for plan in catalog.plans if plan.id != "base"]
        base = replace(catalog.plan("base"), monthly_credits=1_000, entitlements=catalog.plan("pro").entitlements)
        return replace(catalog, plans=(base, *plans))

    later = restarted(mira, dearer)
    try:
        feature = f"{later.path}/entitlements/api_access"
        later.wait_until(period_start(DAY_0, 5).isoformat())
        assert (later.monthly(), later.host.get(feature).status_code) == (3_000, 403)
        later.wait_until(period_start(DAY_0, 12).isoformat())
        later.play("renew")
        assert (later.monthly(), later.host.get(feature).status_code) == (1_000, 200)
        assert later.is_clean()
    finally:
        later.runtime.group.close()
