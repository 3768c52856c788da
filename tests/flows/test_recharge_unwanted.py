"""Auto-recharge that is no longer wanted: a card is charged for nobody who has said no, in whatever way."""

import pytest

from engine.flows import refunds
from engine.flows.admin import StatusOrder, change_status
from engine.flows.recharge_settings import change_wish
from engine.rules.commands import Status
from tests.flows.cards import USD, EcoWorld
from tests.flows.world import ACCOUNT


def set_status(eco: EcoWorld, status: Status) -> None:
    order = StatusOrder(account_id=ACCOUNT, actor="admin:ann", status=status, reason="asked")
    change_status(eco.world.runtime, order)


@pytest.mark.parametrize("is_down", [False, True], ids=["never asked", "asked in vain"])
@pytest.mark.parametrize("what", ["suspended", "closed", "off", "another card"])
def test_who_no_longer_wants_it_is_not_charged(eco: EcoWorld, what: str, is_down: bool) -> None:
    """Between the decision and the asking, or while the provider does not answer."""
    card, other = eco.save_card(), eco.save_card(reference="pm_2")
    eco.bank.bank_says = "down"
    wanted = {"threshold_credits": 5 * USD, "amount_minor": 5_000, "method_id": card.method_id}
    change_wish(eco.world.runtime, ACCOUNT, {"is_enabled": True, **wanted})
    if is_down:
        eco.world.jobs.run_due()
    if what in ("suspended", "closed"):
        set_status(eco, "suspended" if what == "suspended" else "closed")
    else:
        change = {"is_enabled": False} if what == "off" else {"method_id": other.method_id}
        change_wish(eco.world.runtime, ACCOUNT, change)
    eco.bank.bank_says = None
    eco.wait(hours=5)
    paid = {request.card_reference for request in eco.bank.charges.values()}
    assert (eco.charges()[0], paid) == ("failed", {"pm_2"} if what == "another card" else set())
    assert eco.notices() == [], "nothing was declined"


def test_a_charge_whose_answer_was_lost_counts_whatever_was_wanted_since(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "lost"
    eco.switch_on(card, 5 * USD)
    eco.wish(is_enabled=False)
    eco.bank.bank_says = None
    eco.wait(hours=5)
    assert eco.charges() == ["succeeded"] and eco.available == 51 * USD


def test_a_suspended_wallet_that_is_resumed_buys_again(eco: EcoWorld) -> None:
    card = eco.save_card()
    eco.bank.bank_says = "down"
    eco.switch_on(card, 5 * USD)
    set_status(eco, "suspended")
    eco.bank.bank_says = None
    eco.wait(hours=5)
    assert (eco.charges(), eco.reasons()[-1]) == (["failed"], "wallet_not_active")
    set_status(eco, "active")
    eco.world.jobs.run_due()
    assert eco.charges() == ["failed", "succeeded"]


@pytest.mark.parametrize("how", ["reversed", "disputed"])
def test_what_was_taken_back_is_not_bought_again_at_once(eco: EcoWorld, how: str) -> None:
    card = eco.save_card()
    eco.switch_on(card, 5 * USD)
    (purchase,) = eco.purchases()
    eco.wait(hours=2)
    if how == "reversed":
        refunds.reverse_purchase(eco.world.runtime, purchase.purchase_id, "not wanted", "support:sam")
    else:
        eco.world.deliver(eco.bank.say("dispute", "dp_1", "open", 5_000, parent=purchase.provider_reference))
    eco.wait(hours=2)
    assert (eco.charges(), eco.reasons()[-1]) == (["succeeded"], "taken_back")
    assert [(notice["notice"], notice["reason"]) for notice in eco.notices()] == [("autoRechargeOff", "taken_back")]
    eco.wish(is_enabled=True)
    assert eco.charges() == ["succeeded"] * 2, "its owner wants it again"
