"""The doors of Stripe's billing API: which request does what to the fake's subscriptions."""

from collections.abc import Callable

import stripe.params as params

from tests.psp.stripe_billing import StripeBilling
from tests.psp.stripe_objects import Json

KINDS: dict[str, tuple[str, type]] = {
    "subscriptions": ("subscription", params.SubscriptionRetrieveParams),
    "invoices": ("invoice", params.InvoiceRetrieveParams),
    "invoice_payments": ("invoice_payment", params.InvoicePaymentRetrieveParams),
    "products": ("product", params.ProductRetrieveParams),
    "subscription_schedules": ("subscription_schedule", params.SubscriptionScheduleRetrieveParams),
}
LISTS: dict[str, type] = {
    "invoices": params.InvoiceListParams,
    "invoice_payments": params.InvoicePaymentListParams,
}


def posted(fake: StripeBilling, collection: str, object_id: str | None, read: Callable[[type], Json]) -> Json | None:
    """What a POST makes or changes; `None` where it is none of billing's. `read` reads its parameters."""
    parent, _, parent_id = collection.rpartition("/")
    match collection, object_id:
        case "products", None:
            return fake.make_product(read(params.ProductCreateParams))
        case "invoices", "create_preview":
            return fake.preview_change(read(params.InvoiceCreatePreviewParams))
        case "subscription_schedules", None:
            return fake.make_schedule(read(params.SubscriptionScheduleCreateParams))
        case "subscriptions", str():
            return fake.update_subscription(object_id, read(params.SubscriptionUpdateParams))
        case "subscription_schedules", str():
            return fake.update_schedule(object_id, read(params.SubscriptionScheduleUpdateParams))
    if parent == "subscription_schedules" and object_id == "release":
        read(params.SubscriptionScheduleReleaseParams)
        return fake.release_schedule(parent_id)
    return None


def found(fake: StripeBilling, collection: str, given: Json) -> list[Json]:
    """What a list of billing's names, newest first."""
    if collection == "invoices":
        return fake.invoices_of(given["subscription"], given.get("status"))
    intent = given["payment"]["payment_intent"]
    return [each for each in fake.every("invoice_payment") if each["payment"]["payment_intent"] == intent]
