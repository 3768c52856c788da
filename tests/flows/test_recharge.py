"""Auto-recharge: fires once when it should, never when it should not, and tells why; nothing is charged twice."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from engine.flows import receive
from engine.flows.cards import make_default, remove_card
from engine.flows.recharge import confirm_url, send_charge
from engine.payments import Event, ProviderUnreachable
from engine.rules.commands import Posted, SetStatus
from engine.rules.errors import Invalid
from engine.store.database import reading
from tests.engine.support import debit, gift, rows_of
from tests.flows.cards import USD, EcoWorld
from tests.flows.world import ACCOUNT


def spend(eco: EcoWorld, credits: int) -> None:
    eco.world.posted(debit(ACCOUNT, credits))
    eco.world.jobs.run_due()


def rows(eco: EcoWorld) -> list[tuple[str, str | None, int]]:
    with reading(eco.db) as session:
        return [(row.type, row.source, row.amount_credits) for row in rows_of(session, ACCOUNT)]


def test_it_fires_when_a_spend_leaves_the_threshold_and_buys_at_the_ordinary_quote(eco: EcoWorld) -> None:
    card = eco.save_card(2_000)
    eco.switch_on(card, 10 * USD)
    assert eco.charges() == [] and eco.available == 20 * USD
    spend(eco, 9 * USD)
    assert eco.charges() == [], "eleven are left"
    spend(eco, USD)
    assert eco.charges() == ["succeeded"] and eco.available == 60 * USD
    assert rows(eco)[-1] == ("auto_recharge", "auto_recharge", 50 * USD)
    with reading(eco.db) as session:
        last = rows_of(session, ACCOUNT)[-1]
    assert last.reference_type == "stripe_payment" and last.description == "Auto-recharge $50.00"
    assert eco.reasons() == ["at_or_below_threshold"]
    assert eco.told() == ["auto_recharge.succeeded"]


def test_switched_on_while_low_it_fires_at_once(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.switch_on(card, 5 * USD)
    assert eco.charges() == ["succeeded"] and eco.available == 51 * USD


def test_a_hundred_spenders_at_once_are_one_charge_in_flight(eco: EcoWorld) -> None:
    """Vector recharge-1: threshold 10, pack 50, available 100, spends of 1 down to 0."""
    card = eco.save_card(10_000)
    eco.bank.bank_says = "processing"
    eco.switch_on(card, 10 * USD)

    def one(_: int) -> bool:
        return isinstance(eco.world.runtime.group.submit(debit(ACCOUNT, USD)).result(60), Posted)

    with ThreadPoolExecutor(100) as callers, ThreadPoolExecutor(2) as workers:
        looking = [workers.submit(eco.world.jobs.run_due) for _ in range(4)]
        assert all(callers.map(one, range(100)))
        assert all(look.result() >= 0 for look in looking)
    eco.world.jobs.run_due()
    assert eco.available == 0
    assert eco.charges() == ["processing"] and len(set(eco.bank.asked)) == 1
    (purchase,) = eco.purchases()
    eco.bank.bank_says = None
    eco.world.deliver(eco.bank.move(purchase.purchase_id, "paid"))
    assert eco.charges() == ["succeeded"] and eco.available == 50 * USD


def test_below_the_threshold_each_spend_does_not_ask_again(eco: EcoWorld) -> None:
    card = eco.save_card(1_000)
    eco.bank.bank_says = "processing"
    eco.switch_on(card, 10 * USD)
    for _ in range(5):
        spend(eco, USD)
    assert len(eco.bank.asked) == 1 and eco.charges() == ["processing"]


def test_a_bigger_need_waits_for_the_cooldown_and_then_fires_again(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.switch_on(card, 100 * USD, 1_000)
    assert eco.charges() == ["succeeded"] and eco.available == 11 * USD
    assert eco.reasons()[-1] == "cooldown"
    eco.wait(minutes=9)
    assert len(eco.charges()) == 1
    eco.wait(minutes=1)
    assert eco.charges() == ["succeeded"] * 2


def test_no_more_than_the_catalogue_allows_in_a_day(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.switch_on(card, 10_000 * USD, 1_000)
    for _ in range(10):
        eco.wait(minutes=10)
    assert eco.charges() == ["succeeded"] * 5 and eco.reasons()[-1] == "max_per_day"
    eco.wait(days=1)
    assert len(eco.charges()) == 6


def test_the_cap_is_money_of_a_utc_month_and_never_passed(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.switch_on(card, 10_000 * USD, 1_000, monthly_cap_minor=2_999)
    for _ in range(6):
        eco.wait(minutes=30)
    assert eco.charges() == ["succeeded"] * 2 and eco.reasons()[-1] == "monthly_cap"
    eco.clock.advance(timedelta(days=28, hours=14, minutes=29) - timedelta(hours=3))
    eco.world.jobs.run_due()
    assert len(eco.charges()) == 2, "the month has not ended"
    eco.wait(hours=1)
    assert len(eco.charges()) == 3


@pytest.mark.parametrize(
    ("code", "rest"),
    [
        ("try_again_later", timedelta(hours=1)),
        ("insufficient_funds", timedelta(days=1)),
        ("lost_card", timedelta(days=3)),
    ],
)
def test_a_decline_is_told_at_once_and_the_card_left_alone_by_its_kind(
    eco: EcoWorld, code: str, rest: timedelta
) -> None:
    card = eco.save_card()
    eco.bank.bank_says = code
    eco.switch_on(card, 5 * USD)
    assert eco.charges() == ["failed"] and eco.told() == ["auto_recharge.failed"]
    (notice,) = eco.notices()
    assert (notice["notice"], notice["decline"], notice["amount"]) == ("autoRechargeFailed", code, "$50.00")
    eco.bank.bank_says = None
    eco.clock.advance(rest - timedelta(seconds=1))
    eco.world.jobs.run_due()
    assert len(eco.charges()) == 1
    eco.wait(seconds=1)
    assert eco.charges() == ["failed", "succeeded"]


def test_the_third_decline_in_a_row_switches_it_off_and_says_so(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "insufficient_funds"
    eco.switch_on(card, 5 * USD)
    for _ in range(5):
        eco.wait(days=1)
    assert eco.charges() == ["failed"] * 3
    assert sorted(notice["notice"] for notice in eco.notices()) == ["autoRechargeFailed"] * 3 + ["autoRechargeOff"]
    assert eco.reasons()[-1] == "switched_off_after_decline:insufficient_funds"
    eco.bank.bank_says = None
    spend(eco, USD)
    assert len(eco.charges()) == 3
    eco.wish(is_enabled=True)
    assert eco.charges()[-1] == "succeeded", "its customer switched it on again"


def test_a_bank_that_wants_the_customer_gets_a_link_to_the_same_payment(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "authentication_required"
    eco.switch_on(card, 5 * USD)
    assert eco.charges() == ["requires_action"]
    (notice,) = eco.notices()
    (purchase,) = eco.purchases()
    assert notice["notice"] == "autoRechargeConfirm" and purchase.purchase_id in notice["link"]
    assert confirm_url(eco.world.runtime, purchase.purchase_id) == f"https://bank.example/pi_{purchase.purchase_id}"
    eco.wait(hours=22)
    assert len(eco.bank.asked) == 1, "nothing else is charged while that one is open"
    eco.world.deliver(eco.bank.move(purchase.purchase_id, "paid"))
    assert eco.charges() == ["succeeded"] and eco.available == 51 * USD
    assert confirm_url(eco.world.runtime, purchase.purchase_id) is None


def test_a_payment_nobody_confirms_is_given_up_before_another_one_starts(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "authentication_required"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    eco.wait(hours=23)
    assert eco.charges() == ["failed"]
    assert eco.bank.objects[f"pi_{purchase.purchase_id}"].state == "cancelled"
    eco.bank.bank_says = None
    eco.wait(hours=25)
    assert eco.charges() == ["failed", "succeeded"]


def test_money_that_a_failed_charge_brings_after_all_is_credited(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "insufficient_funds"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    eco.world.deliver(eco.bank.move(purchase.purchase_id, "paid"))
    assert eco.charges() == ["succeeded"] and eco.available == 51 * USD


def test_an_answer_that_was_lost_is_asked_for_with_the_same_key_and_charged_once(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "lost"
    eco.switch_on(card, 5 * USD)
    assert eco.charges() == ["pending"]
    eco.bank.bank_says = None
    eco.wait(minutes=5)
    assert eco.charges() == ["succeeded"] and len(eco.bank.charges) == 1 and eco.available == 51 * USD


@pytest.mark.parametrize("was_charged", [True, False])
def test_after_a_day_of_silence_it_is_looked_up_and_never_asked_again(eco: EcoWorld, was_charged: bool) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "lost" if was_charged else "down"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    eco.bank.is_down = True
    eco.wait(hours=23)
    asked = len(eco.bank.asked)
    eco.bank.is_down, eco.bank.bank_says = False, None
    eco.wait(hours=2)
    assert eco.bank.asked[asked:].count(purchase.purchase_id) == 0
    assert eco.charges()[0] == ("succeeded" if was_charged else "failed")


def test_a_crash_between_the_charge_and_its_row_changes_nothing(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "lost"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    eco.world.deliver(eco.bank.move(purchase.purchase_id, "paid"))
    assert eco.available == 51 * USD
    send_charge(eco.world.runtime, ACCOUNT, purchase.purchase_id)
    eco.wait(hours=1)
    assert eco.charges() == ["succeeded"] and eco.available == 51 * USD


def test_a_removed_card_clears_it_and_the_provider_is_told(eco: EcoWorld) -> None:
    card = eco.save_card(1_000)
    eco.switch_on(card, USD)
    remove_card(eco.world.runtime, ACCOUNT, card.method_id)
    eco.world.jobs.run_due()
    assert eco.bank.detached_cards == ["pm_1"] and eco.cards() == []
    spend(eco, 10 * USD)
    assert eco.charges() == [] and eco.reasons() == ["card_removed"]
    assert [notice["notice"] for notice in eco.notices()] == ["autoRechargeOff"]


def test_a_card_detached_at_the_provider_clears_it_too(eco: EcoWorld) -> None:
    eco.switch_on(eco.save_card(1_000), USD)
    event = Event("evt_gone", "card.detached", b"pm_1")
    receive.store(eco.world.runtime, eco.bank, event, eco.clock.now())
    eco.world.jobs.run_due()
    assert eco.cards() == []
    spend(eco, 10 * USD)
    assert eco.charges() == [] and eco.reasons() == ["card_removed"]


def test_a_card_removed_before_the_bank_was_asked_is_not_charged(eco: EcoWorld) -> None:
    card = eco.save_card(1_000)
    eco.switch_on(card, USD)
    eco.world.posted(debit(ACCOUNT, 10 * USD))
    from engine.flows.recharge import look

    look(eco.world.runtime, ACCOUNT)
    remove_card(eco.world.runtime, ACCOUNT, card.method_id)
    eco.world.jobs.run_due()
    assert eco.charges() == ["failed"] and eco.bank.asked == [] and eco.available == 0


def test_the_first_card_is_the_default_and_another_takes_over(eco: EcoWorld) -> None:
    first, second = eco.save_card(), eco.save_card(reference="pm_2")
    assert (first.is_default, second.is_default) == (True, False)
    make_default(eco.world.runtime, ACCOUNT, second.method_id)
    assert [row.is_default for row in eco.cards()] == [True, False]
    remove_card(eco.world.runtime, ACCOUNT, second.method_id)
    assert [(row.method_id, row.is_default) for row in eco.cards()] == [(first.method_id, True)]


def test_a_suspended_wallet_buys_nothing_until_it_is_active_again(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.world.posted(SetStatus(account_id=ACCOUNT, actor="admin:Kim", status="suspended"))
    eco.switch_on(card, 5 * USD)
    assert eco.charges() == [] and eco.reasons() == ["wallet_not_active"]
    eco.world.posted(SetStatus(account_id=ACCOUNT, actor="admin:Kim", status="active"))
    eco.world.jobs.run_due()
    assert eco.charges() == ["succeeded"]


def test_credits_from_elsewhere_leave_it_armed_and_quiet(eco: EcoWorld) -> None:
    card = eco.save_card(1_000)
    eco.switch_on(card, 5 * USD)
    eco.world.posted(gift(ACCOUNT, 7 * USD))
    spend(eco, 11 * USD)
    assert eco.charges() == []
    spend(eco, USD)
    assert eco.charges() == ["succeeded"] and eco.reasons() == ["at_or_below_threshold"]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"threshold_credits": 10_001 * USD}, "thresholdCredits"),
        ({"amount_minor": 99}, "amountMinor"),
        ({"amount_minor": 100_001}, "amountMinor"),
        ({"method_id": "card_nobodys"}, "paymentMethodId"),
        ({"is_enabled": True}, "thresholdCredits"),
        ({"is_enabled": True, "threshold_credits": 1, "amount_minor": 100}, "paymentMethodId"),
    ],
)
def test_what_the_catalogue_does_not_allow_is_refused_and_changes_nothing(
    eco: EcoWorld, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        eco.wish(**changes)
    assert refused.value.facts["field"] == field
    assert eco.reasons() == []


def test_a_provider_that_is_down_is_asked_later_not_forgotten(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "down"
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    with pytest.raises(ProviderUnreachable):
        send_charge(eco.world.runtime, ACCOUNT, purchase.purchase_id)
    assert eco.charges() == ["pending"]
    eco.bank.bank_says = None
    eco.wait(hours=1)
    assert eco.charges() == ["succeeded"]
