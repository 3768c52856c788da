"""Google's subscriptions and orders as the Play API tells them, as much of them as we read."""

from dataclasses import dataclass
from typing import Any

import msgspec


class PlayMoney(msgspec.Struct, rename="camel"):
    units: str = "0"
    nanos: int = 0


class OfferDetails(msgspec.Struct, rename="camel"):
    base_plan_id: str = ""


class Product(msgspec.Struct, rename="camel"):
    product_id: str


class Replaced(msgspec.Struct, rename="camel"):
    product_id: str
    base_plan_id: str = ""
    replacement_mode: str = ""


class SubscriptionLine(msgspec.Struct, rename="camel"):
    """One product of a subscription. Without an order it only comes later."""

    product_id: str
    expiry_time: str | None = None
    latest_successful_order_id: str | None = None
    prepaid_plan: dict[str, Any] | None = None
    offer_details: OfferDetails = msgspec.field(default_factory=OfferDetails)
    deferred_item_replacement: Product | None = None
    item_replacement: Replaced | None = None


class AccountIdentifiers(msgspec.Struct, rename="camel"):
    obfuscated_external_account_id: str | None = None


class OutOfApp(msgspec.Struct, rename="camel"):
    """Bought again in the store itself, where no app can name the account."""

    expired_external_account_identifiers: AccountIdentifiers = msgspec.field(default_factory=AccountIdentifiers)
    expired_purchase_token: str | None = None


class CanceledContext(msgspec.Struct, rename="camel"):
    replacement_cancellation: dict[str, Any] | None = None


class Subscription(msgspec.Struct, rename="camel"):
    """`SubscriptionPurchaseV2`."""

    subscription_state: str = ""
    line_items: list[SubscriptionLine] = []
    linked_purchase_token: str | None = None
    acknowledgement_state: str = ""
    external_account_identifiers: AccountIdentifiers = msgspec.field(default_factory=AccountIdentifiers)
    out_of_app_purchase_context: OutOfApp = msgspec.field(default_factory=OutOfApp)
    canceled_state_context: CanceledContext = msgspec.field(default_factory=CanceledContext)
    test_purchase: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """A subscription as it stood at `at`, in milliseconds of Google's clock."""

    subscription: Subscription
    at: int


class PhaseDetails(msgspec.Struct, rename="camel"):
    free_trial_details: dict[str, Any] | None = None
    proration_period_details: dict[str, Any] | None = None


class Funded(msgspec.Struct, rename="camel"):
    """The period that an order pays for."""

    base_plan_id: str = ""
    service_period_start_time: str | None = None
    service_period_end_time: str | None = None
    offer_phase: str = ""
    offer_phase_details: PhaseDetails = msgspec.field(default_factory=PhaseDetails)


class OrderLine(msgspec.Struct, rename="camel"):
    product_id: str
    subscription_details: Funded | None = None


class RefundDetails(msgspec.Struct, rename="camel"):
    total: PlayMoney = msgspec.field(default_factory=PlayMoney)


class PartialRefund(msgspec.Struct, rename="camel"):
    state: str = ""
    refund_details: RefundDetails = msgspec.field(default_factory=RefundDetails)


class OrderHistory(msgspec.Struct, rename="camel"):
    partial_refund_events: list[PartialRefund] = []


class Order(msgspec.Struct, rename="camel"):
    order_id: str
    state: str
    last_event_time: str
    purchase_token: str = ""
    line_items: list[OrderLine] = []
    total: PlayMoney = msgspec.field(default_factory=PlayMoney)
    order_history: OrderHistory = msgspec.field(default_factory=OrderHistory)


class Orders(msgspec.Struct, rename="camel"):
    orders: list[Order] = []
