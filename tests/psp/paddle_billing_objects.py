"""The shapes of Paddle's subscriptions, as its API answers them."""

from tests.psp.paddle_objects import Json, new_price, new_product


def new_item(ids: Json, given: Json, status: str, at: str, next_billed_at: str) -> Json:
    return {
        "status": status,
        "quantity": 1,
        "recurring": True,
        "created_at": at,
        "updated_at": at,
        "previously_billed_at": None if status == "trialing" else at,
        "next_billed_at": next_billed_at,
        "trial_dates": {"starts_at": at, "ends_at": next_billed_at} if status == "trialing" else None,
        "price": new_price(ids["price"], ids["product"], given, at),
        "product": new_product(ids["product"], given["product"], at),
    }


def new_subscription(subscription_id: str, transaction: Json, item: Json, at: str, ends_at: str) -> Json:
    is_trial = item["status"] == "trialing"
    return {
        "id": subscription_id,
        "status": item["status"],
        "customer_id": transaction["customer_id"],
        "address_id": transaction["address_id"],
        "business_id": None,
        "currency_code": transaction["currency_code"],
        "created_at": at,
        "updated_at": at,
        "started_at": at,
        "first_billed_at": None if is_trial else at,
        "next_billed_at": ends_at,
        "paused_at": None,
        "canceled_at": None,
        "discount": None,
        "collection_mode": "automatic",
        "billing_details": None,
        "current_billing_period": {"starts_at": at, "ends_at": ends_at},
        "billing_cycle": dict(item["price"]["billing_cycle"]),
        "scheduled_change": None,
        "items": [item],
        "custom_data": dict(transaction["custom_data"]) if transaction["custom_data"] else None,
        "management_urls": {
            "update_payment_method": f"https://buyer-portal.paddle.com/subscriptions/{subscription_id}/update-payment",
            "cancel": f"https://buyer-portal.paddle.com/subscriptions/{subscription_id}/cancel",
        },
        "import_meta": None,
    }


def preview_of(subscription: Json, immediate: Json | None, recurring: Json) -> Json:
    """What an update or a charge would make of a subscription: `immediate` is the transaction that would be made now,
    `recurring` the one of every period."""
    made: Json | None = None
    if immediate is not None:
        period = subscription["current_billing_period"]
        made = {"billing_period": period, "details": _previewed(immediate), "adjustments": []}
    left = {name: value for name, value in subscription.items() if name != "id"}
    return left | {
        "immediate_transaction": made,
        "next_transaction": None,
        "recurring_transaction_details": _previewed(recurring),
        "update_summary": None,
    }


def _previewed(transaction: Json) -> Json:
    """What a transaction comes to, before it is there."""
    details = transaction["details"]
    lines = [{name: value for name, value in line.items() if name != "id"} for line in details["line_items"]]
    return {"tax_rates_used": details["tax_rates_used"], "totals": details["totals"], "line_items": lines}
