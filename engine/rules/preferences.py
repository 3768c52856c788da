"""Which mails a customer wants, what they get without saying anything, and which are always sent."""

import msgspec


class EmailNotifications(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Defaults: whatever tells of a problem or of money is on, the summaries are off. A payment is always confirmed."""

    low_balance: bool = True
    daily_limit_reached: bool = True
    payment_confirmed: bool = True
    unusual_activity: bool = True
    daily_summary: bool = False
    weekly_summary: bool = False
    credits_expiring: bool = True
    auto_recharge: bool = True
    refunds: bool = True


PREFERENCE_OF: dict[str, str | None] = {
    "lowBalance": "low_balance",
    "depleted": None,
    "dailyLimitReached": "daily_limit_reached",
    "paymentConfirmed": None,
    "unusualActivity": "unusual_activity",
    "dailySummary": "daily_summary",
    "weeklySummary": "weekly_summary",
    "creditsExpiring": "credits_expiring",
    "rolloverClipped": "credits_expiring",
    "autoRechargeFailed": "auto_recharge",
    "autoRechargeConfirm": "auto_recharge",
    "autoRechargeOff": "auto_recharge",
    "subscriptionPastDue": None,
    "subscriptionEnded": None,
    "subscriptionChanged": None,
    "refundDone": "refunds",
    "refundFailed": "refunds",
}
"""Every notice there is, and the preference that may switch it off; `None`: it is always sent."""


def is_wanted(notice: str, preferences: EmailNotifications) -> bool:
    """Whether a customer with these preferences gets this notice."""
    preference = PREFERENCE_OF[notice]
    return preference is None or bool(getattr(preferences, preference))
