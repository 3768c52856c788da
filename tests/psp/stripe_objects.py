"""Stripe's objects as the fake server makes them: whole, and of the types the SDK declares."""

from typing import Any

Json = dict[str, Any]


def new_session(session_id: str, given: Json, created: int, livemode: bool, url: str) -> Json:
    """An open Checkout Session from its creation parameters."""
    price = given["line_items"][0]["price_data"]
    total_minor = price["unit_amount"] * given["line_items"][0].get("quantity", 1)
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": given.get("adaptive_pricing"),
        "amount_subtotal": total_minor,
        "amount_total": total_minor,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": given.get("cancel_url"),
        "client_reference_id": given.get("client_reference_id"),
        "created": created,
        "currency": price["currency"],
        "custom_fields": [],
        "custom_text": {},
        "customer": None,
        "customer_creation": given.get("customer_creation", "if_required"),
        "customer_details": None,
        "customer_email": given.get("customer_email"),
        "discounts": [],
        "excluded_payment_method_types": given.get("excluded_payment_method_types"),
        "expires_at": given.get("expires_at", created + 86_400),
        "livemode": livemode,
        "locale": given.get("locale"),
        "metadata": given.get("metadata", {}),
        "mode": given["mode"],
        "payment_intent": None,
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "shipping_options": [],
        "status": "open",
        "success_url": given.get("success_url"),
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": url,
    }


def new_intent(intent_id: str, amount_minor: int, currency: str, metadata: Json, created: int, livemode: bool) -> Json:
    """A PaymentIntent before its first attempt."""
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount_minor,
        "amount_capturable": 0,
        "amount_received": 0,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_fake",
        "confirmation_method": "automatic",
        "created": created,
        "currency": currency,
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": livemode,
        "metadata": metadata,
        "next_action": None,
        "payment_method": None,
        "payment_method_types": ["card"],
        "setup_future_usage": None,
        "status": "requires_payment_method",
    }


def new_charge(charge_id: str, intent: Json, status: str, created: int, receipt_url: str) -> Json:
    """One attempt at paying an intent: `succeeded`, `pending` or `failed`."""
    has_failed = status == "failed"
    return {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0 if status != "succeeded" else intent["amount"],
        "amount_refunded": 0,
        "balance_transaction": None,
        "billing_details": {
            "address": None,
            "email": None,
            "name": None,
            "phone": None,
            "tax_id": None,
        },
        "captured": status == "succeeded",
        "created": created,
        "currency": intent["currency"],
        "customer": None,
        "disputed": False,
        "failure_code": "card_declined" if has_failed else None,
        "failure_message": "Your card was declined." if has_failed else None,
        "livemode": intent["livemode"],
        "metadata": {},
        "paid": not has_failed,
        "payment_intent": intent["id"],
        "receipt_url": None if has_failed else receipt_url,
        "refunded": False,
        "status": status,
    }


def new_refund(refund_id: str, charge: Json, amount_minor: int, status: str, metadata: Json, created: int) -> Json:
    return {
        "id": refund_id,
        "object": "refund",
        "amount": amount_minor,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "metadata": metadata,
        "payment_intent": charge["payment_intent"],
        "reason": None,
        "receipt_number": None,
        "status": status,
    }


def new_dispute(dispute_id: str, charge: Json, amount_minor: int, status: str, created: int) -> Json:
    return {
        "id": dispute_id,
        "object": "dispute",
        "amount": amount_minor,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": created,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": created + 7 * 86_400,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
            "submission_method": "not_submitted",
        },
        "is_charge_refundable": status.startswith("warning_"),
        "livemode": charge["livemode"],
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "reason": "fraudulent",
        "status": status,
    }


def new_balance_transaction(transaction_id: str, amount_minor: int, currency: str, created: int) -> Json:
    """Money leaving (negative) or entering the account because of a dispute."""
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount_minor,
        "available_on": created,
        "balance_type": "payments",
        "created": created,
        "currency": currency,
        "fee": 0,
        "fee_details": [],
        "net": amount_minor,
        "reporting_category": "dispute" if amount_minor < 0 else "dispute_reversal",
        "status": "available",
        "type": "adjustment",
    }


def new_event(event_id: str, event_type: str, about: Json, created: int, api_version: str) -> Json:
    """A snapshot event, with its object as it stands."""
    return {
        "id": event_id,
        "object": "event",
        "api_version": api_version,
        "created": created,
        "data": {"object": about},
        "livemode": about.get("livemode", False),
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": event_type,
    }


def thin_event(event: Json) -> Json:
    """The thin variant of a snapshot event: it names the object and holds nothing of it."""
    about = event["data"]["object"]
    collection = about["object"].replace(".", "/") + "s"
    return {
        "id": event["id"],
        "object": "v2.core.event",
        "type": f"v1.{event['type']}",
        "created": "2026-11-20T12:00:00.000Z",
        "livemode": event["livemode"],
        "related_object": {
            "id": about["id"],
            "type": about["object"],
            "url": f"/v1/{collection}/{about['id']}",
        },
    }


def new_customer(customer_id: str, given: Json, created: int, livemode: bool) -> Json:
    return {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "created": created,
        "default_source": None,
        "description": None,
        "email": given.get("email"),
        "livemode": livemode,
        "metadata": given.get("metadata", {}),
        "shipping": None,
    }


def new_card(method_id: str, customer_id: str, created: int, livemode: bool) -> Json:
    """A saved Visa, as a payment method."""
    return {
        "id": method_id,
        "object": "payment_method",
        "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
        "card": {
            "brand": "visa",
            "checks": None,
            "country": "US",
            "display_brand": "visa",
            "exp_month": 8,
            "exp_year": 2030,
            "fingerprint": "fake",
            "funding": "credit",
            "generated_from": None,
            "last4": "4242",
            "networks": None,
            "regulated_status": "unregulated",
            "three_d_secure_usage": None,
            "wallet": None,
        },
        "created": created,
        "customer": customer_id,
        "customer_account": None,
        "livemode": livemode,
        "metadata": {},
        "type": "card",
    }


def new_warning(warning_id: str, charge: Json, created: int) -> Json:
    """An early fraud warning on a charge."""
    return {
        "id": warning_id,
        "object": "radar.early_fraud_warning",
        "actionable": True,
        "charge": charge["id"],
        "created": created,
        "fraud_type": "unauthorized_use_of_card",
        "livemode": charge["livemode"],
        "payment_intent": charge["payment_intent"],
    }


def new_portal_session(session_id: str, customer_id: str, return_url: str, created: int, livemode: bool) -> Json:
    return {
        "id": session_id,
        "object": "billing_portal.session",
        "configuration": "bpc_fake",
        "created": created,
        "customer": customer_id,
        "customer_account": None,
        "flow": None,
        "livemode": livemode,
        "locale": None,
        "on_behalf_of": None,
        "return_url": return_url,
        "url": f"https://billing.stripe.com/p/session/{session_id}",
    }
