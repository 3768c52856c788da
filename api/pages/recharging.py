"""The saved cards and auto-recharge on `/account/billing`: forms, and why it fired or did not in plain words."""

import contextlib
from typing import Any

from litestar import Response

from api import cards, recharge
from api.pages.amounts import parse_amount, plain_amount
from api.pages.forms import Form, bare_call, call_of, credits_text, read_credits, refused, see_other
from api.pages.frame import Visit
from api.pages.tongues import Tongue
from engine.flows.cards import list_cards
from engine.flows.recharge_settings import decisions
from engine.payments import keeps_cards
from engine.rules.errors import Invalid, NotFound, Refusal
from engine.rules.money import Money
from engine.rules.recharge import decline_kind

LOG_ROWS = 20

REASONS = {
    "at_or_below_threshold": "Your balance was at or below your threshold, so your card was charged.",
    "wallet_not_active": "Your wallet is suspended, so nothing was bought.",
    "not_in_plan": "Your plan does not include top-ups.",
    "no_card": "The card it should use is not saved any more. Choose another card.",
    "card_expired": "The card it should use has expired. Choose another card.",
    "backoff_after_decline": "Your card was declined before; it is left alone for a while.",
    "cooldown": "It had bought credits a moment before.",
    "max_per_day": "It had bought credits as often as it may in one day.",
    "monthly_cap": "This charge would pass your cap for the month.",
    "declined:authentication": "Your bank wants you to confirm the payment; a link is in your mail.",
    "declined:temporary": "Your bank did not answer. It is tried again.",
    "declined:funds": "Your card was declined: not enough money.",
    "declined:card": "Your card was declined. Check it with your bank, or use another card.",
    "card_removed": "The card was removed, so auto-recharge was switched off.",
    "taken_back": "A payment that it had made was taken back or disputed, so auto-recharge was switched off.",
    "withdrawn": "Your settings changed before the card was charged, so it was not.",
    "off": "Your card was declined three times, so auto-recharge was switched off.",
}
"""Each reason of a decision as its customer reads it."""

_FIELDS = {
    "thresholdCredits": "threshold",
    "amountMinor": "amount",
    "monthlyCapMinor": "cap",
    "paymentMethodId": "card",
}


def shown(visit: Visit, form: Form | None = None) -> dict[str, Any] | None:
    """What the page shows of cards and auto-recharge; nothing where the catalogue offers neither."""
    runtime = visit.runtime
    if runtime.catalog.auto_recharge is None:
        return None
    now_is: Any = recharge.get_auto_recharge(bare_call(visit)).value
    saved = list_cards(runtime, visit.account_id)
    log, _ = decisions(runtime, visit.account_id, 1, LOG_ROWS)
    return {
        "is_on": now_is.enabled,
        "form": form or _form(visit, now_is),
        "cards": tuple(map(cards.method_view, saved)),
        "log": [(row, reason_text(row.reason, visit.tongue)) for row in log],
        "bounds": runtime.catalog.auto_recharge,
        "has_portal": any(keeps_cards(provider) for provider in runtime.providers.values()),
    }


def save(visit: Visit) -> dict[str, Any] | Response[Any] | None:
    """Change auto-recharge; what to show again if that was refused."""
    try:
        payload: dict[str, object] = {
            "enabled": visit.form.get("enabled") == "on",
            "paymentMethodId": visit.form.get("card") or None,
        }
        threshold = read_credits(visit, "threshold")
        payload |= {"thresholdCredits": None if threshold is None else str(threshold)}
        payload |= {"amountMinor": _minor(visit, "amount"), "monthlyCapMinor": _minor(visit, "cap")}
        recharge.put_auto_recharge(call_of(visit, recharge.AutoRechargeBody, payload))
    except Refusal as refusal:
        return shown(visit, refused(visit, dict.fromkeys(_FIELDS.values(), ""), refusal, _FIELDS))
    return see_other("/account/billing?done=recharge#recharge")


def make_default(visit: Visit) -> Response[Any]:
    """Make a card the default one."""
    body = call_of(visit, cards.DefaultBody, {"default": True}, method_id=visit.path["method_id"])
    cards.put_method(body)
    return see_other("/account/billing?done=default#cards")


def remove(visit: Visit) -> Response[Any]:
    """Remove a card; one that is gone already is what was wanted."""
    with contextlib.suppress(NotFound):
        cards.delete_method(bare_call(visit, method_id=visit.path["method_id"]))
    return see_other("/account/billing?done=removed#cards")


def portal(visit: Visit) -> Response[Any]:
    """On to the provider's own page for this customer, by itself and by a link."""
    answer: Any = cards.open_portal(bare_call(visit)).value
    return visit.page("away.html", url=answer.url, back="/account/billing")


def reason_text(reason: str, tongue: Tongue) -> str:
    """`"declined:insufficient_funds"` → `"Your card was declined: not enough money."`."""
    kind, _, code = reason.partition(":")
    if kind == "switched_off_after_decline":
        name = "off"
    else:
        name = kind if kind in REASONS else f"declined:{decline_kind(code or kind)}"
    return tongue.say(REASONS[name])


def _form(visit: Visit, now_is: recharge.AutoRechargeAnswer) -> Form:
    unit, currency = visit.runtime.catalog.unit, now_is.currency
    amounts = {"amount": now_is.amount_minor, "cap": now_is.monthly_cap_minor}
    texts = {name: "" if minor is None else plain_amount(Money(minor, currency)) for name, minor in amounts.items()}
    return Form(
        {
            "enabled": "on" if now_is.enabled else "",
            "threshold": credits_text(now_is.threshold_credits, unit, visit.tongue),
            "card": now_is.payment_method_id or "",
            **texts,
        }
    )


def _minor(visit: Visit, name: str) -> int | None:
    text = visit.form.get(name, "").strip()
    if not text:
        return None
    try:
        return parse_amount(text, visit.runtime.catalog.pricing.currency).minor
    except Refusal as refusal:
        raise Invalid(name, refusal.detail) from refusal
