"""Stripe's objects of subscriptions as the fake server makes them: whole, and of the types the SDK declares."""

from typing import Any

from tests.psp.stripe_objects import Json


def new_product(given: Json, created: int, livemode: bool) -> Json:
    return {
        "id": given["id"],
        "object": "product",
        "active": True,
        "created": created,
        "images": [],
        "livemode": livemode,
        "marketing_features": [],
        "metadata": {},
        "name": given["name"],
        "type": "service",
        "updated": created,
    }


def new_price(price_id: str, given: Json, created: int, livemode: bool) -> Json:
    return {
        "id": price_id,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "created": created,
        "currency": given["currency"],
        "livemode": livemode,
        "metadata": {},
        "product": given["product"],
        "recurring": {"interval": given["recurring"]["interval"], "interval_count": 1, "usage_type": "licensed"},
        "type": "recurring",
        "unit_amount": given["unit_amount"],
    }


def new_item(item_id: str, subscription_id: str, price: Json, start: int, end: int, created: int) -> Json:
    plan = {name: price[name] for name in ("active", "billing_scheme", "created", "currency", "id", "livemode")}
    return {
        "id": item_id,
        "object": "subscription_item",
        "created": created,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "plan": plan | {"object": "plan", **price["recurring"], "amount": price["unit_amount"]},
        "price": price,
        "quantity": 1,
        "subscription": subscription_id,
    }


def new_subscription(subscription_id: str, item: Json, customer: str, given: Json, anchor: int, **more: Any) -> Json:
    return {
        "id": subscription_id,
        "object": "subscription",
        "automatic_tax": {"enabled": False},
        "billing_cycle_anchor": anchor,
        "billing_mode": {"type": "flexible"},
        "billing_schedules": [],
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "collection_method": "charge_automatically",
        "created": item["created"],
        "currency": item["price"]["currency"],
        "customer": customer,
        "description": given.get("description"),
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"issuer": {"type": "self"}},
        "items": {"object": "list", "data": [item], "has_more": False, "url": "/v1/subscription_items"},
        "latest_invoice": None,
        "livemode": item["price"]["livemode"],
        "metadata": dict(given.get("metadata", {})),
        "pause_collection": None,
        "schedule": None,
        "start_date": item["created"],
        "status": "active",
        "trial_end": None,
        **more,
    }


def new_line(line_id: str, item: Json, price: Json, amount_minor: int, period: Json, *, is_part: bool) -> Json:
    """A whole period of a price, or a part of one: a proration."""
    credited = {"invoice": "in_before", "invoice_line_items": ["il_before"]} if amount_minor < 0 else None
    return {
        "id": line_id,
        "object": "line_item",
        "amount": amount_minor,
        "currency": price["currency"],
        "discountable": not is_part,
        "discounts": [],
        "livemode": price["livemode"],
        "metadata": {},
        "parent": {
            "type": "subscription_item_details",
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": is_part,
                "proration_details": {"credited_items": credited},
                "subscription": item["subscription"],
                "subscription_item": item["id"],
            },
        },
        "period": period,
        "pricing": {
            "type": "price_details",
            "price_details": {"price": price["id"], "product": price["product"]},
            "unit_amount_decimal": str(price["unit_amount"]),
        },
        "quantity": 1,
        "subtotal": amount_minor,
    }


def new_invoice(
    invoice_id: str, subscription: Json, reason: str, lines: list[Json], balance_minor: int, created: int
) -> Json:
    """An open invoice; what is too little to charge alone is carried over, as what is below zero is."""
    total_minor = sum(line["amount"] for line in lines)
    due_minor = max(0, total_minor + balance_minor)
    due_minor = 0 if due_minor < 50 else due_minor
    return {
        "id": invoice_id,
        "object": "invoice",
        "amount_due": due_minor,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": due_minor,
        "amount_shipping": 0,
        "attempt_count": 0,
        "attempted": False,
        "automatic_tax": {"enabled": False},
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": created,
        "currency": subscription["currency"],
        "customer": subscription["customer"],
        "default_tax_rates": [],
        "discounts": [],
        "ending_balance": total_minor + balance_minor - due_minor,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{invoice_id}",
        "issuer": {"type": "self"},
        "lines": {"object": "list", "data": lines, "has_more": False, "url": f"/v1/invoices/{invoice_id}/lines"},
        "livemode": subscription["livemode"],
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
        },
        "payment_settings": {},
        "period_end": created,
        "period_start": created,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": balance_minor,
        "status": "open",
        "status_transitions": {"finalized_at": created},
        "subtotal": total_minor,
        "total": total_minor,
        "total_excluding_tax": total_minor,
    }


def new_invoice_payment(payment_id: str, invoice: Json, intent_id: str, created: int) -> Json:
    return {
        "id": payment_id,
        "object": "invoice_payment",
        "amount_paid": None,
        "amount_requested": invoice["amount_due"],
        "created": created,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": True,
        "livemode": invoice["livemode"],
        "payment": {"type": "payment_intent", "payment_intent": intent_id},
        "status": "open",
        "status_transitions": {"canceled_at": None, "paid_at": None},
    }


def new_schedule(schedule_id: str, subscription: Json, created: int) -> Json:
    item = subscription["items"]["data"][0]
    phase = new_phase(item["price"], item["current_period_start"], item["current_period_end"])
    return {
        "id": schedule_id,
        "object": "subscription_schedule",
        "billing_mode": {"type": "flexible"},
        "created": created,
        "current_phase": {"start_date": phase["start_date"], "end_date": phase["end_date"]},
        "customer": subscription["customer"],
        "default_settings": {
            "billing_cycle_anchor": "automatic",
            "invoice_settings": {"issuer": {"type": "self"}},
        },
        "end_behavior": "release",
        "livemode": subscription["livemode"],
        "metadata": {},
        "pause_schedules": [],
        "phases": [phase],
        "status": "active",
        "subscription": subscription["id"],
    }


def new_phase(price: Json, start: int, end: int) -> Json:
    return {
        "add_invoice_items": [],
        "currency": price["currency"],
        "discounts": [],
        "end_date": end,
        "items": [{"discounts": [], "plan": price["id"], "price": price["id"], "quantity": 1}],
        "proration_behavior": "none",
        "start_date": start,
    }
