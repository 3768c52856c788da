"""The shapes of Paddle's objects, as its API answers them."""

from typing import Any

Json = dict[str, Any]


def new_price(price_id: str, product_id: str, given: Json, at: str) -> Json:
    return {
        "id": price_id,
        "product_id": product_id,
        "description": given["description"],
        "name": given.get("name"),
        "type": "custom",
        "billing_cycle": given.get("billing_cycle"),
        "trial_period": given.get("trial_period"),
        "tax_mode": given.get("tax_mode", "account_setting"),
        "unit_price": dict(given["unit_price"]),
        "unit_price_overrides": [],
        "quantity": given.get("quantity", {"minimum": 1, "maximum": 100}),
        "status": "active",
        "custom_data": given.get("custom_data"),
        "import_meta": None,
        "created_at": at,
        "updated_at": at,
    }


def new_product(product_id: str, given: Json, at: str) -> Json:
    return {
        "id": product_id,
        "name": given["name"],
        "description": given.get("description"),
        "type": "custom",
        "tax_category": given["tax_category"],
        "image_url": None,
        "custom_data": None,
        "status": "active",
        "import_meta": None,
        "created_at": at,
        "updated_at": at,
    }


def parts_of(minor: int, tax_percent: int, tax_mode: str) -> Json:
    """A price as Paddle splits it; the tax is inside it or comes on top."""
    if tax_mode == "external":
        tax = minor * tax_percent // 100
        return {"subtotal": str(minor), "tax": str(tax), "total": str(minor + tax)}
    tax = minor - minor * 100 // (100 + tax_percent)
    return {"subtotal": str(minor - tax), "tax": str(tax), "total": str(minor)}


def new_transaction(transaction_id: str, given: Json, ids: Json, parts: Json, at: str, url: str) -> Json:
    """A transaction of one line; `ids` names its price, product and line."""
    price_given = given["items"][0]["price"]
    price = new_price(ids["price"], ids["product"], price_given, at)
    return {
        "id": transaction_id,
        "status": "draft",
        "customer_id": None,
        "address_id": None,
        "business_id": None,
        "custom_data": given.get("custom_data"),
        "currency_code": price_given["unit_price"]["currency_code"],
        "origin": "api",
        "subscription_id": None,
        "invoice_id": None,
        "invoice_number": None,
        "collection_mode": "automatic",
        "discount_id": None,
        "billing_details": None,
        "billing_period": None,
        "items": [{"price": price, "quantity": 1, "proration": None}],
        "details": _details(price_given, ids, parts, at),
        "payments": [],
        "checkout": {"url": url},
        "created_at": at,
        "updated_at": at,
        "billed_at": None,
        "revised_at": None,
    }


def _details(price_given: Json, ids: Json, parts: Json, at: str) -> Json:
    """What a transaction of one line comes to."""
    currency = price_given["unit_price"]["currency_code"]
    rate = "0" if parts["tax"] == "0" else "0.19"
    with_discount = parts | {"discount": "0"}
    return {
        "tax_rates_used": [{"tax_rate": rate, "totals": dict(with_discount)}],
        "totals": with_discount
        | {
            "credit": "0",
            "balance": parts["total"],
            "grand_total": parts["total"],
            "fee": None,
            "earnings": None,
            "currency_code": currency,
            "credit_to_balance": "0",
            "grand_total_tax": parts["tax"],
        },
        "adjusted_totals": parts
        | {
            "grand_total": parts["total"],
            "fee": None,
            "retained_fee": "0",
            "earnings": None,
            "currency_code": currency,
            "grand_total_tax": parts["tax"],
        },
        "payout_totals": None,
        "adjusted_payout_totals": None,
        "line_items": [
            {
                "id": ids["line"],
                "price_id": ids["price"],
                "quantity": 1,
                "proration": None,
                "tax_rate": rate,
                "unit_totals": dict(with_discount),
                "totals": dict(with_discount),
                "product": new_product(ids["product"], price_given["product"], at),
            }
        ],
    }


def new_payment(attempt_id: str, method_id: str, amount: str, status: str, at: str) -> Json:
    is_captured = status == "captured"
    return {
        "payment_attempt_id": attempt_id,
        "stored_payment_method_id": attempt_id,
        "payment_method_id": method_id,
        "amount": amount,
        "status": status,
        "error_code": None if is_captured else "declined",
        "method_details": {
            "type": "card",
            "card": {
                "type": "visa",
                "last4": "4242",
                "expiry_month": 1,
                "expiry_year": 2031,
                "cardholder_name": "Mira",
            },
        },
        "created_at": at,
        "captured_at": at if is_captured else None,
    }


def new_adjustment(adjustment_id: str, transaction: Json, given: Json, parts: Json, status: str, at: str) -> Json:
    line_id = transaction["details"]["line_items"][0]["id"]
    is_full = given["type"] == "full"
    item = {
        "id": f"adjitm_{adjustment_id.removeprefix('adj_')}",
        "item_id": line_id,
        "type": given["type"],
        "amount": None if is_full else parts["total"],
        "proration": None,
        "totals": dict(parts),
    }
    return {
        "id": adjustment_id,
        "action": given["action"],
        "type": given["type"],
        "transaction_id": transaction["id"],
        "subscription_id": None,
        "customer_id": transaction["customer_id"],
        "reason": given["reason"],
        "credit_applied_to_balance": None,
        "currency_code": transaction["currency_code"],
        "status": status,
        "items": [item],
        "totals": parts
        | {"fee": "0", "retained_fee": "0", "earnings": "0", "currency_code": transaction["currency_code"]},
        "payout_totals": None,
        "tax_rates_used": [{"tax_rate": "0", "totals": dict(parts)}],
        "created_at": at,
        "updated_at": at,
    }


def new_event(event_id: str, event_type: str, about: Json, at: str) -> Json:
    return {"event_id": event_id, "event_type": event_type, "occurred_at": at, "data": about}
