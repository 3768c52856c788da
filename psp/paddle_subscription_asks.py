"""What is asked of Paddle about a subscription, in its own words: pure, no network."""

from typing import Any

from paddle_billing.Entities.DateTime import DateTime
from paddle_billing.Entities.Shared import (
    CurrencyCode,
    CustomData,
    Duration,
    Interval,
    PriceQuantity,
    PriceTrialPeriod,
    TaxCategory,
    TaxMode,
)
from paddle_billing.Entities.Shared import Money as PaddleMoney
from paddle_billing.Entities.Subscriptions import SubscriptionProrationBillingMode
from paddle_billing.Resources.Subscriptions.Operations import UpdateSubscription
from paddle_billing.Resources.Subscriptions.Operations.Charge import SubscriptionChargeItemWithPrice
from paddle_billing.Resources.Subscriptions.Operations.Price import (
    SubscriptionNonCatalogPriceWithProduct,
    SubscriptionNonCatalogProduct,
)
from paddle_billing.Resources.Subscriptions.Operations.Update import SubscriptionUpdateItemWithPrice
from paddle_billing.Resources.Transactions.Operations import CreateTransaction
from paddle_billing.Resources.Transactions.Operations.Create import TransactionCreateItemWithPrice
from paddle_billing.Resources.Transactions.Operations.Price import (
    TransactionNonCatalogPriceWithProduct,
    TransactionNonCatalogProduct,
)

from engine.payments import ProviderRefused
from engine.recurring import SubscriptionChange, SubscriptionRequest
from psp.paddle_facts import Json, marks_of
from psp.paddle_subscription_facts import charge_of, held, holds, item_of, period_of, sells, sold_by
from psp.paddle_values import minor_of

NAME_MAX = 50
DO_NOT_BILL = SubscriptionProrationBillingMode.DoNotBill
UNSCHEDULED = UpdateSubscription(scheduled_change=None)
"""Takes back what is scheduled for the period's end."""

_ONE = PriceQuantity(1, 1)
_HOLDING = ("purser_holds", "purser_until", "purser_held")
_GIVING = ("purser_given", "purser_given_at", "purser_given_until", "purser_given_key")


def checkout_of(request: SubscriptionRequest) -> CreateTransaction:
    """One plan by one interval, at the price that was agreed, after its trial where there is one."""
    currency = CurrencyCode(request.currency)
    if not currency.is_known():
        raise ProviderRefused("currency_not_supported", f"Paddle does not sell in {request.currency}.")
    price = TransactionNonCatalogPriceWithProduct(
        description=request.description[:NAME_MAX],
        name=request.description[:NAME_MAX],
        unit_price=PaddleMoney(str(request.terms.price_minor), currency),
        product=TransactionNonCatalogProduct(request.terms.plan.name, TaxCategory.Standard),
        tax_mode=TaxMode.Internal,
        billing_cycle=Duration(Interval(request.terms.interval), 1),
        quantity=_ONE,
        custom_data=CustomData({"purser_sells": sells(request.terms)}),
    )
    if request.trial_days:
        price.trial_period = PriceTrialPeriod(Interval.Day, request.trial_days)
    marks = {"purser_subscription": request.subscription_id, "purser_account": request.account_id}
    return CreateTransaction(
        items=[TransactionCreateItemWithPrice(price, 1)], currency_code=currency, custom_data=CustomData(marks)
    )


def charge_item(subscription: Json, change: SubscriptionChange) -> SubscriptionChargeItemWithPrice:
    """What an upgrade costs now, with all that is needed to carry it out written into its price."""
    period = subscription["current_billing_period"]
    if period is None:
        raise ProviderRefused("subscription_without_period", "Only a subscription that runs can be changed.")
    name = f"{_name(change)}, until {period['ends_at'][:10]}"[:NAME_MAX]
    marks = {
        "purser_change": change.idempotency_key,
        "purser_sells": sells(change.terms),
        "purser_price": str(change.terms.price_minor),
        "purser_name": _name(change),
        "purser_at": _at(subscription, change),
        "purser_until": period["ends_at"],
    }
    price = SubscriptionNonCatalogPriceWithProduct(
        description=name,
        name=name,
        unit_price=PaddleMoney(str(change.due_minor), CurrencyCode(subscription["currency_code"])),
        product=SubscriptionNonCatalogProduct(change.terms.plan.name, TaxCategory.Standard),
        tax_mode=TaxMode.Internal,
        quantity=_ONE,
        custom_data=CustomData(marks),
    )
    return SubscriptionChargeItemWithPrice(price, 1)


def switched(subscription: Json, change: SubscriptionChange, *, is_paid: bool, is_given: bool) -> UpdateSubscription:
    """Another plan from now on, without another charge; `is_given` where it cost too little to be charged."""
    marks = _without(subscription, *_HOLDING) | {"purser_change": change.idempotency_key}
    if is_paid:
        marks["purser_paid"] = change.idempotency_key
    if is_given:
        values = (sells(change.terms), _at(subscription, change), subscription["current_billing_period"]["ends_at"])
        marks |= dict(zip(_GIVING, (*values, change.idempotency_key), strict=True))
    return _with(subscription, sells(change.terms), change.terms.price_minor, _name(change), marks)


def switched_by_charge(subscription: Json, transaction: Json) -> UpdateSubscription:
    """The plan that a charge of ours has paid for."""
    charge = charge_of(transaction)
    key = charge["purser_change"]
    marks = _without(subscription, *_HOLDING) | {"purser_change": key, "purser_paid": key}
    return _with(subscription, charge["purser_sells"], int(charge["purser_price"]), charge["purser_name"], marks)


def waiting(subscription: Json, change: SubscriptionChange) -> UpdateSubscription:
    """Another plan from the next period on: on the subscription at once, what is paid for held beside it."""
    period, price = subscription["current_billing_period"], item_of(subscription)["price"]
    named = sold_by(item_of(subscription))
    if period is None or named is None:
        raise ProviderRefused("subscription_without_period", "Only a subscription that runs can be changed.")
    marks = marks_of(subscription) | {"purser_change": change.idempotency_key}
    if held(subscription) is None:
        paid = holds(named, minor_of(price["unit_price"]["amount"]))
        marks |= dict(zip(_HOLDING, (paid, period["ends_at"], price["name"]), strict=True))
    return _with(subscription, sells(change.terms), change.terms.price_minor, _name(change), marks)


def put_back(subscription: Json) -> UpdateSubscription:
    """What is paid for, again, in place of what was to come."""
    waits = held(subscription)
    assert waits is not None
    sold = f"{waits.sold.interval}:{waits.sold.plan}"
    name = marks_of(subscription).get("purser_held") or waits.sold.plan
    return _with(subscription, sold, waits.price_minor, name, _without(subscription, *_HOLDING))


def _with(subscription: Json, sold: str, price_minor: int, name: str, marks: dict[str, str]) -> UpdateSubscription:
    """The subscription with this one plan on it, nothing charged, its next date where it was."""
    interval = sold.partition(":")[0]
    price = SubscriptionNonCatalogPriceWithProduct(
        description=name[:NAME_MAX],
        name=name[:NAME_MAX],
        unit_price=PaddleMoney(str(price_minor), CurrencyCode(subscription["currency_code"])),
        product=SubscriptionNonCatalogProduct(name[:NAME_MAX], TaxCategory.Standard),
        billing_cycle=Duration(Interval(interval), 1),
        tax_mode=TaxMode.Internal,
        quantity=_ONE,
        custom_data=CustomData({"purser_sells": sold}),
    )
    asked = UpdateSubscription(
        items=[SubscriptionUpdateItemWithPrice(price, 1)],
        custom_data=CustomData(marks),
        proration_billing_mode=DO_NOT_BILL,
    )
    if item_of(subscription)["price"]["billing_cycle"]["interval"] != interval:
        asked.next_billed_at = DateTime(subscription["current_billing_period"]["ends_at"])
    return asked


def _name(change: SubscriptionChange) -> str:
    how = "monthly" if change.terms.interval == "month" else "yearly"
    return f"{change.terms.plan.name} ({how})"[:NAME_MAX]


def _without(subscription: Json, *names: str) -> dict[str, Any]:
    return {name: value for name, value in marks_of(subscription).items() if name not in names}


def _at(subscription: Json, change: SubscriptionChange) -> str:
    """The change's instant, within the period: ours is in whole seconds, Paddle's periods begin at any microsecond."""
    period = period_of(subscription)
    at = max(change.at, period.start) if period is not None else change.at
    return at.isoformat().replace("+00:00", "Z")
