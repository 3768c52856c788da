"""What goes wrong around a subscription at Paddle: lost answers and events, cut-off changes, money taken back."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from litestar.testing import TestClient
from sqlmodel import Session

from api.app import create_app
from api.pages import page_handlers
from api.settings import read_settings
from engine.flows.subscription_turns import TURN
from engine.store.database import Database, transact
from engine.store.tables import SubscriptionRow
from psp.paddle_subscriptions import PaddleSubscriptions
from receipts.render import Renderer
from tests.api.host import SECRET, assert_problem
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_objects import Json
from tests.psp.paddle_orders import a_rail
from tests.psp.paddle_subscriber import PaddleCustomer, open_customer


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakePaddle]:
    with FakePaddle(now=clock.now) as started:
        yield started


@pytest.fixture
def mira(db: Database, clock: FakeClock, fake: FakePaddle) -> Iterator[PaddleCustomer]:
    made = open_customer(db, clock, fake, a_rail(fake))
    yield made
    assert made.is_clean()
    made.runtime.group.close()


def charges(mira: PaddleCustomer) -> int:
    return sum(1 for one in mira.fake.of(mira.reference) if one["origin"] == "subscription_charge")


@pytest.mark.parametrize("place", range(8))
def test_an_upgrade_whose_answers_are_lost_anywhere_is_charged_and_made_once(mira: PaddleCustomer, place: int) -> None:
    mira.begin("base")
    mira.wait(days=10)
    shown = mira.preview("pro")
    mira.fake.drop_later(place)
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
    assert_problem(answer, 503, "UNAVAILABLE")
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
    assert (answer.status_code, answer.json()["plan"]) == (200, "pro")
    mira.hear()
    assert [p["amountMinor"] for p in mira.payments()] == [shown["dueNowMinor"], 1_900] and charges(mira) == 1
    assert mira.monthly() == 3_100 + int(shown["monthlyCreditsNow"])


def test_an_upgrade_that_is_cut_off_after_its_charge_is_made_by_whoever_looks_next(
    mira: PaddleCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira.begin("base")
    mira.wait(days=10)
    shown = mira.preview("pro")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(PaddleSubscriptions, "_update", killed)
        mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
    assert mira.at_paddle()["items"][0]["price"]["unit_price"]["amount"] == "1900"
    mira.hear()
    assert mira.at_paddle()["items"][0]["price"]["unit_price"]["amount"] == "4900"
    assert mira.subscription()["plan"] == "pro" and mira.payments()[0]["amountMinor"] == shown["dueNowMinor"]
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
    assert (answer.status_code, answer.json()["plan"], charges(mira)) == (200, "pro", 1)


def test_a_change_that_is_refused_leaves_a_cancelled_plan_cancelled(
    mira: PaddleCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira.begin("pro")
    mira.act("cancel")
    preview = mira.fake.preview_update

    def charging(subscription_id: str, given: Json) -> Json:
        return preview(subscription_id, given) | {"next_billed_at": "2026-12-31T00:00:00.000000Z"}

    with monkeypatch.context() as patched:
        patched.setattr(mira.fake, "preview_update", charging)
        answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "base"})
        assert_problem(answer, 503, "UNAVAILABLE")
    assert mira.at_paddle()["scheduled_change"]["action"] == "cancel"
    assert_problem(mira.host.post(f"{mira.path}/subscription/pause"), 503, "UNAVAILABLE")
    assert mira.at_paddle()["scheduled_change"]["action"] == "cancel"
    now = mira.change("base")
    assert (now["pendingPlan"], now["cancelAtPeriodEnd"]) == ("base", False)


@pytest.mark.parametrize("plan", ["base", "elite"])
def test_a_cancellation_is_taken_back_after_all_else_of_a_change(
    mira: PaddleCustomer, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    mira.begin("pro")
    mira.wait(days=10)
    mira.act("cancel")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(PaddleSubscriptions, "_unschedule", killed)
        mira.host.post(f"{mira.path}/subscription/change", {"plan": plan}, key="k1")
    assert mira.at_paddle()["scheduled_change"]["action"] == "cancel"
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": plan}, key="k1")
    assert (answer.status_code, answer.json()["cancelAtPeriodEnd"]) == (200, False)
    assert charges(mira) == (plan == "elite")


def test_a_charge_that_is_not_settled_yet_is_waited_for_and_not_made_again(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    mira.fake.is_slow = True
    for _ in range(2):
        answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}, key="k1")
        assert_problem(answer, 503, "UNAVAILABLE")
    assert (mira.subscription()["plan"], charges(mira), mira.monthly()) == ("base", 1, 3_100)
    mira.fake.settle(mira.reference)
    mira.hear()
    assert (mira.subscription()["plan"], charges(mira), len(mira.payments())) == ("pro", 1, 2)


def test_of_two_changes_in_the_same_moment_one_is_charged(
    mira: PaddleCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira.begin("base")
    mira.wait(days=10)
    charge, second = mira.fake.charge, []

    def slow(subscription_id: str, given: Json) -> Json:
        second.append(mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}))
        return charge(subscription_id, given)

    monkeypatch.setattr(mira.fake, "charge", slow)
    assert mira.change("pro")["plan"] == "pro"
    assert_problem(second[0], 503, "UNAVAILABLE")
    assert (len(second), charges(mira), len(mira.payments())) == (1, 1, 2)


def test_a_change_that_was_never_answered_keeps_others_away_for_two_minutes(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    row = mira.row()

    def die(session: Session) -> None:
        there = session.get_one(SubscriptionRow, (row.account_id, row.subscription_id))
        there.asked_at = mira.host.clock.now()
        session.add(there)

    transact(mira.runtime.db, die)
    assert_problem(mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"}), 503, "UNAVAILABLE")
    mira.wait(seconds=TURN.total_seconds())
    assert mira.change("pro")["plan"] == "pro" and charges(mira) == 1


def test_a_change_that_was_reckoned_from_another_plan_than_paddle_sells_is_not_charged(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=10)
    mira.fake.replace_in_dashboard(mira.reference, 4_900, "month:pro")
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "elite"})
    assert_problem(answer, 503, "UNAVAILABLE")
    assert charges(mira) == 0
    mira.hear()
    mira.wait(minutes=1)
    shown = mira.preview("elite")
    assert mira.change("elite")["plan"] == "elite"
    assert (mira.payments()[0]["amountMinor"], charges(mira)) == (shown["dueNowMinor"], 1)


def test_a_change_within_half_an_hour_of_the_renewal_is_refused_and_nothing_is_charged(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=29, hours=23, minutes=45)
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "pro"})
    assert_problem(answer, 503, "UNAVAILABLE")
    assert (mira.subscription()["plan"], len(mira.payments())) == ("base", 1)


def test_a_change_at_the_periods_end_is_refused_where_paddle_would_move_that_end(
    mira: PaddleCustomer, monkeypatch: pytest.MonkeyPatch
) -> None:
    mira.begin("base")
    preview = mira.fake.preview_update

    def moved(subscription_id: str, given: dict[str, object]) -> dict[str, object]:
        return preview(subscription_id, {name: value for name, value in given.items() if name != "next_billed_at"})

    monkeypatch.setattr(mira.fake, "preview_update", moved)
    answer = mira.host.post(f"{mira.path}/subscription/change", {"plan": "base", "interval": "year"})
    assert_problem(answer, 503, "UNAVAILABLE")
    assert mira.at_paddle()["billing_cycle"] == {"interval": "month", "frequency": 1}
    assert mira.subscription()["pendingPlan"] is None


@pytest.mark.parametrize("lost", ["subscription.", "transaction.", ("subscription.", "transaction.")])
def test_events_that_are_lost_are_made_up_for_by_a_look_at_paddle(
    mira: PaddleCustomer, lost: str | tuple[str, ...]
) -> None:
    mira.loses = (lost,) if isinstance(lost, str) else lost
    mira.begin("pro")
    mira.wait(minutes=31)
    assert (mira.subscription()["plan"], mira.monthly()) == ("pro", 10_100)
    mira.wait(days=31)
    mira.wait(hours=2)
    assert mira.monthly() == 10_000 and len(mira.payments()) == 2


def test_a_refund_made_in_the_dashboard_takes_back_what_is_left(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.host.spend(mira.path, 1_100)
    adjustment = mira.fake.refund(mira.payments()[0]["providerReference"])
    mira.hear()
    assert mira.monthly() == 9_000, "Paddle may still reject it"
    mira.fake.decide(adjustment, "approved")
    mira.hear()
    assert mira.monthly() == 0 and mira.payments()[0]["status"] == "refunded"
    assert mira.host.balance(mira.path)["debtCredits"] == "0"


def test_a_chargeback_takes_its_credits_until_it_is_reversed(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    chargeback = mira.fake.charge_back(mira.payments()[0]["providerReference"])
    mira.hear()
    assert (mira.monthly(), mira.payments()[0]["status"]) == (100, "refunded")
    mira.fake.reverse_chargeback(chargeback)
    mira.hear()
    assert (mira.monthly(), mira.payments()[0]["status"]) == (10_100, "completed")


def test_support_gives_a_subscription_payment_back_through_paddle(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    purchase = mira.payments()[0]
    support = mira.host.new_key("support", name="Ada")
    where = f"/v1/support/purchases/{purchase['id']}/reversals"
    answer = mira.host.post(where, {"reason": "asked at once"}, bearer=support)
    assert answer.status_code == 202, answer.text
    mira.hear()
    (adjustment,) = mira.fake.adjustments.values()
    assert (adjustment["transaction_id"], adjustment["totals"]["total"]) == (purchase["providerReference"], "4900")
    assert mira.monthly() == 100, "the credits go first"
    mira.fake.decide(adjustment["id"], "approved")
    mira.hear()
    assert mira.payments()[0]["status"] == "refunded"
    mira.bring_anew(mira.fake.events, "again")
    assert mira.monthly() == 100 and len(mira.fake.adjustments) == 1


def test_a_refund_that_paddle_rejects_gives_the_months_back(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    support = mira.host.new_key("support", name="Ada")
    where = f"/v1/support/purchases/{mira.payments()[0]['id']}/reversals"
    assert mira.host.post(where, {"reason": "asked"}, bearer=support).status_code == 202
    mira.hear()
    mira.fake.decide(next(iter(mira.fake.adjustments)), "rejected")
    mira.hear()
    assert (mira.monthly(), mira.payments()[0]["status"]) == (10_100, "completed")


def test_another_plan_put_on_it_in_the_dashboard_is_followed_with_paddles_own_proration(mira: PaddleCustomer) -> None:
    mira.begin("base")
    mira.wait(days=15)
    mira.fake.replace_in_dashboard(mira.reference, 4_900, "month:pro")
    mira.hear()
    assert mira.subscription()["plan"] == "pro"
    assert [(p["amountMinor"], p["status"]) for p in mira.payments()] == [(1_500, "completed"), (1_900, "completed")]
    assert mira.monthly() == 3_100 + 3_500, "what Paddle credits of the old plan takes nothing back"
    mira.wait(days=15)
    assert (mira.monthly(), mira.payments()[0]["amountMinor"]) == (10_000, 4_900)


def test_a_closed_accounts_subscription_is_cancelled_at_paddle(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    assert mira.change("base")["pendingPlan"] == "base"
    close(mira)
    assert mira.at_paddle()["scheduled_change"]["action"] == "cancel"
    mira.wait(days=31)
    assert (mira.at_paddle()["status"], len(mira.payments())) == ("canceled", 1)


def test_a_checkout_that_is_paid_long_after_the_close_is_cancelled_too(mira: PaddleCustomer) -> None:
    url = mira.change("pro", "month")["checkoutUrl"]
    close(mira)
    mira.wait(days=3)
    mira.fake.subscribe(url.rpartition("=")[2])
    mira.hear()
    assert mira.at_paddle()["scheduled_change"]["action"] == "cancel"
    assert (mira.payments()[0]["status"], mira.monthly()) == ("review", 0)
    mira.wait(days=31)
    assert (mira.at_paddle()["status"], len(mira.payments())) == ("canceled", 1)


def close(mira: PaddleCustomer) -> None:
    admin = mira.host.new_key("admin", name="Kim")
    answer = mira.host.post("/v1/admin/accounts/sub1/close", {"reason": "asked by mail"}, bearer=admin)
    assert answer.status_code == 200, answer.text
    mira.hear()


def test_the_customer_gives_another_card_on_paddles_page(mira: PaddleCustomer) -> None:
    without = mira.host.post(f"{mira.path}/provider-portal")
    assert_problem(without, 404, "NOT-FOUND")
    mira.begin("pro")
    answer = mira.host.post(f"{mira.path}/provider-portal")
    assert answer.json() == {"url": mira.at_paddle()["management_urls"]["update_payment_method"]}


def test_the_page_of_plans_leads_to_paddles_page_for_another_card(mira: PaddleCustomer) -> None:
    base, words = mira.runtime.base_url, "Cards and details at the provider"
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": base})
    with Renderer() as renderer:
        app = create_app(mira.runtime, settings, page_handlers(renderer))
        with TestClient(app, base_url=base) as browser:
            browser.get(mira.host.post(f"{mira.path}/portal-sessions").json()["url"])
            before = browser.get("/account/subscribe")
            assert before.status_code == 200 and words not in before.text
            mira.begin("pro")
            assert words in browser.get("/account/subscribe").text
            answer = browser.post("/account/billing/provider", data={"view": "1"}, headers={"Origin": base})
            assert mira.at_paddle()["management_urls"]["update_payment_method"] in answer.text


def test_a_subscription_that_is_none_of_ours_is_left_alone(mira: PaddleCustomer) -> None:
    mira.begin("pro")
    mira.at_paddle()["custom_data"] = None
    before = mira.rows()
    mira.host.clock.advance(timedelta(days=31))
    mira.fake.advance()
    mira.hear()
    assert mira.subscription()["status"] == "past_due" and mira.rows()[: len(before)] == before
    assert len(mira.payments()) == 1
