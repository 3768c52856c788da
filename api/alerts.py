"""`GET` and `PUT alerts`: the balance below which a customer is told, and the mails they want."""

from typing import Any

from msgspec import UNSET, UnsetType

from api.body import Body, CreditCount, Dollars
from api.limits import credits_change
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows.alerts import AlertSettings, alert_settings, change_alerts
from engine.rules.catalog import Catalog
from engine.rules.errors import Invalid
from engine.rules.money import usd_text
from engine.rules.preferences import EmailNotifications


class NotificationsBody(Body, frozen=True, kw_only=True):
    """Mails to switch on or off; what is left out stays. `paymentConfirmed` can't be switched off."""

    low_balance: bool | UnsetType = UNSET
    daily_limit_reached: bool | UnsetType = UNSET
    payment_confirmed: bool | UnsetType = UNSET
    unusual_activity: bool | UnsetType = UNSET
    daily_summary: bool | UnsetType = UNSET
    weekly_summary: bool | UnsetType = UNSET
    credits_expiring: bool | UnsetType = UNSET
    auto_recharge: bool | UnsetType = UNSET
    refunds: bool | UnsetType = UNSET


class AlertsBody(Body, frozen=True, kw_only=True):
    """The threshold in one of its two forms: `null` removes it, an omitted one stays."""

    low_balance_threshold_credits: CreditCount | UnsetType | None = UNSET
    low_balance_threshold_usdc: Dollars | UnsetType | None = UNSET
    email_notifications: NotificationsBody | UnsetType = UNSET


class AlertsAnswer(View, frozen=True, kw_only=True):
    """The threshold in both forms; null where there is none, or where a credit has no USD value."""

    low_balance_threshold_credits: str | None
    low_balance_threshold_usdc: str | None
    email_notifications: EmailNotifications


def get_alerts(call: Call[None]) -> Answer:
    """The settings as they are."""
    return Answer(_answer(alert_settings(call.runtime, call.account_id), call.runtime.catalog))


def put_alerts(call: Call[AlertsBody]) -> Answer:
    """Change the settings that are named."""
    ask, catalog = call.ask, call.runtime.catalog
    threshold = credits_change(
        "lowBalanceThreshold", ask.low_balance_threshold_credits, ask.low_balance_threshold_usdc, catalog
    )
    changes: dict[str, bool] = {}
    if isinstance(ask.email_notifications, NotificationsBody):
        named = ask.email_notifications
        shown = {name: getattr(named, name) for name in named.__struct_fields__}
        changes = {name: value for name, value in shown.items() if value is not UNSET}
    if changes.get("payment_confirmed") is False:
        raise Invalid("emailNotifications.paymentConfirmed", "A payment is always confirmed by mail.")
    return Answer(_answer(change_alerts(call.runtime, call.account_id, threshold, changes), catalog))


def _answer(settings: AlertSettings, catalog: Catalog) -> AlertsAnswer:
    credits = settings.low_balance_credits
    return AlertsAnswer(
        low_balance_threshold_credits=None if credits is None else str(credits),
        low_balance_threshold_usdc=None if credits is None else usd_text(credits, catalog.unit.credits_per_usd),
        email_notifications=settings.notifications,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="alerts",
        may="settings.read",
        handler=get_alerts,
        answers=AlertsAnswer,
        summary="The low-balance threshold and the mails the customer wants (summaries are off unless switched on).",
    ),
    Resource(
        method="PUT",
        path="alerts",
        may="settings.write",
        handler=put_alerts,
        asks=AlertsBody,
        answers=AlertsAnswer,
        summary="Change the alerts that are named; null removes the threshold.",
    ),
)
