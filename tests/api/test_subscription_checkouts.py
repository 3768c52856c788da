"""One subscription at a time: what becomes of a checkout when another is opened, and of a second one that was paid."""

from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import select

from api import sandbox_subscriptions as books
from engine.flows import receive
from engine.store.database import Database, reading
from engine.store.subscriptions import read_terms
from engine.store.tables import OutboxRow, SandboxSessionRow, SandboxSubscriptionRow
from tests.api.host import assert_problem
from tests.api.subscriber import Subscriber, subscriber
from tests.api.test_store_subscriptions import Store, told
from tests.engine.support import FakeClock


@pytest.fixture
def mira(db: Database, clock: FakeClock) -> Iterator[Subscriber]:
    made = subscriber(db, clock)
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def by_plan(mira: Subscriber) -> dict[str, SandboxSubscriptionRow]:
    with reading(mira.runtime.db) as session:
        return {read_terms(row.terms).plan.id: row for row in session.exec(select(SandboxSubscriptionRow)).all()}


def at_provider(mira: Subscriber) -> dict[str, tuple[str, bool]]:
    """How each stands at the provider, and whether it ends with its period."""
    return {plan: (row.state, row.cancel_at_period_end) for plan, row in by_plan(mira).items()}


def references(mira: Subscriber) -> dict[str, str]:
    return {plan: row.reference for plan, row in by_plan(mira).items()}


def waiting(mira: Subscriber) -> int:
    with reading(mira.runtime.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "subscription_close")).all()
    return sum(row.done_at is None for row in rows)


def page_of(mira: Subscriber, answer: dict[str, Any]) -> str:
    """How the page that a change was answered with stands."""
    with reading(mira.runtime.db) as session:
        return session.get_one(SandboxSessionRow, answer["checkoutUrl"].rpartition("/")[2]).state


def two_paid(mira: Subscriber, first: str = "base", second: str = "pro") -> None:
    """Two checkouts that were open side by side, as where a provider can't end one, both paid."""
    mira.sandbox.never_ends = True
    pages = [mira.change(plan, "month")["checkoutUrl"] for plan in (first, second)]
    mira.sandbox.never_ends = False
    for page in pages:
        mira.press(page, "pay")


def test_another_checkout_ends_the_one_before_it(mira: Subscriber) -> None:
    base = mira.change("base", "month")
    pro = mira.change("pro", "month")
    assert (page_of(mira, base), page_of(mira, pro)) == ("expired", "open")
    assert mira.change("pro", "month")["checkoutUrl"] == pro["checkoutUrl"]
    again = mira.change("base", "month")
    assert again["checkoutUrl"] != base["checkoutUrl"] and page_of(mira, pro) == "expired"
    mira.press(again["checkoutUrl"], "pay")
    assert mira.subscription()["plan"] == "base" and len(mira.payments()) == 1


def test_what_is_refused_ends_nothing(mira: Subscriber) -> None:
    base = mira.change("base", "month")
    body = {"plan": "gold", "interval": "month"}
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", body), 400, "INVALID")
    assert page_of(mira, base) == "open"


@pytest.mark.parametrize("button", ["cancel", "expire"])
def test_a_checkout_that_ended_is_not_handed_out_again(mira: Subscriber, button: str) -> None:
    dead = mira.change("base", "month")
    mira.press(dead["checkoutUrl"], button)
    anew = mira.change("base", "month")
    assert anew["checkoutUrl"] != dead["checkoutUrl"] and page_of(mira, anew) == "open"
    mira.press(anew["checkoutUrl"], "pay")
    assert mira.subscription()["plan"] == "base"


def test_a_declined_card_leaves_the_page_to_another_try(mira: Subscriber) -> None:
    page = mira.change("base", "month")
    mira.press(page["checkoutUrl"], "decline")
    assert mira.change("base", "month")["checkoutUrl"] == page["checkoutUrl"]


@pytest.mark.parametrize("plan", ["base", "pro"])
def test_a_checkout_whose_payment_was_not_heard_of_is_no_reason_for_another(mira: Subscriber, plan: str) -> None:
    page = mira.change("base", "month")["checkoutUrl"].rpartition("/")[2]
    mira.sandbox.keep(lambda session, now: books.press(session, page, "pay", now))
    body = {"plan": plan, "interval": "month"}
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", body), 503, "UNAVAILABLE")
    assert mira.subscription()["plan"] == "base" and at_provider(mira) == {"base": ("active", False)}


def test_a_provider_that_does_not_answer_leaves_an_open_checkout_as_it_is(mira: Subscriber) -> None:
    page = mira.change("base", "month")
    mira.sandbox.is_down = True
    assert mira.change("base", "month")["checkoutUrl"] == page["checkoutUrl"]


@pytest.mark.parametrize(("first", "second"), [("base", "pro"), ("pro", "base")])
def test_of_two_that_were_paid_the_higher_renews_and_both_give_what_was_paid(
    mira: Subscriber, first: str, second: str
) -> None:
    two_paid(mira, first, second)
    assert at_provider(mira) == {"base": ("active", True), "pro": ("active", False)}
    now = mira.subscription()
    assert (now["plan"], now["cancelAtPeriodEnd"], mira.monthly()) == ("pro", False, 13_100)
    mira.wait_until(now["currentPeriodEnd"])
    for name in references(mira).values():
        mira.play("renew", name)
    assert sorted(payment["amountMinor"] for payment in mira.payments()) == [1_900, 4_900, 4_900]
    assert (mira.subscription()["plan"], mira.monthly()) == ("pro", 10_000)


def test_the_second_is_cancelled_once_though_the_answer_was_lost(mira: Subscriber) -> None:
    mira.sandbox.answers_lost = 1
    two_paid(mira)
    assert waiting(mira) == 1
    mira.wait(minutes=5)
    assert waiting(mira) == 0 and at_provider(mira) == {"base": ("active", True), "pro": ("active", False)}


def test_one_that_was_not_paid_as_agreed_does_not_end_the_other(mira: Subscriber) -> None:
    mira.sandbox.never_ends = True
    base, pro = (mira.change(plan, "month")["checkoutUrl"] for plan in ("base", "pro"))
    mira.press(base, "pay")
    mira.press(pro, "pay-wrong-amount")
    assert at_provider(mira) == {"base": ("active", False), "pro": ("active", True)}
    assert mira.subscription()["plan"] == "base"


def test_cancel_cancels_whatever_runs(mira: Subscriber) -> None:
    two_paid(mira)
    mira.sandbox.act_on_subscription(references(mira)["base"], "reactivate", "dashboard")
    mira.tell()
    assert at_provider(mira) == {"base": ("active", False), "pro": ("active", False)}
    assert mira.act("cancel")["cancelAtPeriodEnd"] is True
    assert at_provider(mira) == {"base": ("active", True), "pro": ("active", True)}
    mira.act("cancel")
    assert len(mira.outbox("subscription_close")) == 2, "what is cancelled is not asked for again"


def test_a_higher_plan_bought_in_a_store_lets_the_one_before_it_end(mira: Subscriber) -> None:
    mira.subscribe("base")
    store: Any = Store(mira.runtime.db, mira.sandbox.clock)
    receive.carry_out(mira.runtime, store, (told("active", 1, 0),))
    mira.jobs.run_due()
    now = mira.subscription()
    assert (now["plan"], now["provider"]) == ("pro", "apple") and at_provider(mira) == {"base": ("active", True)}


def test_a_higher_plan_waits_until_what_is_overdue_is_paid(mira: Subscriber) -> None:
    mira.subscribe("base")
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    mira.play("payment-failed")
    for act in ("preview", "change"):
        answer = mira.host.post(f"{mira.path}/subscription/{act}", {"plan": "pro", "interval": "month"})
        told = assert_problem(answer, 409, "PLAN-003", provider="Sandbox", action="change")
        assert "overdue" in told["detail"]
    assert mira.subscription()["plan"] == "base"
    mira.play("renew")
    assert mira.preview("pro")["dueNowMinor"] == 3_000
    assert mira.change("pro")["plan"] == "pro"


def test_a_lower_plan_and_a_cancellation_need_not_wait(mira: Subscriber) -> None:
    mira.subscribe("pro")
    mira.wait_until(mira.subscription()["currentPeriodEnd"])
    mira.play("payment-failed")
    assert mira.change("base")["pendingPlan"] == "base"
    assert mira.act("cancel")["plan"] == "free", "what is paid for is over"
