"""Auto-recharge: whether it fires now, why not and when to look again, and what a declined card leads to."""

from dataclasses import dataclass
from datetime import datetime, time, timedelta, timezone
from typing import Literal

from engine.rules.catalog import AutoRecharge
from engine.rules.errors import Invalid
from engine.rules.periods import period_start

FAILURES_MAX = 3
"""Declines in a row after which auto-recharge switches itself off."""

CONFIRM_WITHIN = timedelta(hours=23)
"""How long a customer may confirm a payment, and how long its charge may be asked for again by the same key."""

DeclineKind = Literal["authentication", "temporary", "funds", "card"]

_TEMPORARY = frozenset({"processing_error", "try_again_later", "reenter_transaction", "issuer_not_available"})
_FUNDS = frozenset(
    {"insufficient_funds", "card_velocity_exceeded", "withdrawal_count_limit_exceeded", "approve_with_id"}
)
_BACKOFF: dict[DeclineKind, timedelta] = {
    "authentication": timedelta(hours=24),
    "temporary": timedelta(hours=1),
    "funds": timedelta(hours=24),
    "card": timedelta(hours=72),
}


@dataclass(frozen=True, slots=True)
class Wish:
    """What the customer set; money in minor units."""

    is_enabled: bool = False
    threshold_credits: int | None = None
    amount_minor: int | None = None
    method_id: str | None = None
    monthly_cap_minor: int | None = None


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision looks at. `charged_this_month_minor` counts what succeeded and what is in flight."""

    available_credits: int
    wallet_status: str
    has_card: bool
    is_card_expired: bool
    may_top_up: bool
    is_in_flight: bool
    last_fired_at: datetime | None
    fired_today: int
    charged_this_month_minor: int
    backoff_until_at: datetime | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`fires`, or `reason` says why not; `again_at` is when time alone may change that.

    `is_armed`: the next change that leaves too little asks again.
    """

    fires: bool
    reason: str
    again_at: datetime | None = None
    is_armed: bool = False


def decide(wish: Wish, now_is: Situation, rules: AutoRecharge, now: datetime) -> Verdict:
    """Whether to charge the card now. Guards in the order in which a customer would want to read them."""
    if not wish.is_enabled or wish.threshold_credits is None or wish.amount_minor is None:
        return Verdict(False, "off")
    if now_is.available_credits > wish.threshold_credits:
        return Verdict(False, "above_threshold", is_armed=True)
    if now_is.wallet_status != "active":
        return Verdict(False, "wallet_not_active", is_armed=True)
    if now_is.is_in_flight:
        return Verdict(False, "in_flight")
    if not now_is.may_top_up:
        return Verdict(False, "not_in_plan", _next_day(now))
    if not now_is.has_card:
        return Verdict(False, "no_card")
    if now_is.is_card_expired:
        return Verdict(False, "card_expired")
    if now_is.backoff_until_at is not None and now < now_is.backoff_until_at:
        return Verdict(False, "backoff_after_decline", now_is.backoff_until_at)
    if now_is.last_fired_at is not None:
        rested_at = now_is.last_fired_at + timedelta(minutes=rules.cooldown_minutes)
        if now < rested_at:
            return Verdict(False, "cooldown", rested_at)
    if now_is.fired_today >= rules.max_per_day:
        return Verdict(False, "max_per_day", _next_day(now))
    cap = wish.monthly_cap_minor
    if cap is not None and now_is.charged_this_month_minor + wish.amount_minor > cap:
        return Verdict(False, "monthly_cap", next_month(now))
    return Verdict(True, "at_or_below_threshold")


def is_expired(exp_year: int, exp_month: int, now: datetime) -> bool:
    """Whether a card's last month is over everywhere on earth."""
    first_of_next = datetime(exp_year + exp_month // 12, exp_month % 12 + 1, 1, tzinfo=timezone.utc)
    return now >= first_of_next + timedelta(hours=12)


def check_wish(wish: Wish, rules: AutoRecharge) -> None:
    """Refuse (`Invalid`, naming the field) what the catalogue does not allow, or what is on and not complete."""
    low, high = rules.threshold_min_credits, rules.threshold_max_credits
    if wish.threshold_credits is not None and not low <= wish.threshold_credits <= high:
        raise Invalid("thresholdCredits", f"The threshold is between {low} and {high} credits.")
    least, most = rules.amount_min_minor, rules.amount_max_minor
    if wish.amount_minor is not None and not least <= wish.amount_minor <= most:
        raise Invalid("amountMinor", f"The amount is between {least} and {most} minor units.")
    if wish.monthly_cap_minor is not None and wish.monthly_cap_minor < 1:
        raise Invalid("monthlyCapMinor", "The cap is at least one minor unit, or null.")
    if not wish.is_enabled:
        return
    for field, value in (
        ("thresholdCredits", wish.threshold_credits),
        ("amountMinor", wish.amount_minor),
        ("paymentMethodId", wish.method_id),
    ):
        if value is None:
            raise Invalid(field, "Auto-recharge can't be on without it.")


def decline_kind(code: str) -> DeclineKind:
    """What a provider's decline code is about; a code nobody knows is the card's fault, the slowest kind."""
    if code in ("authentication_required", "authentication_not_handled"):
        return "authentication"
    if code in _TEMPORARY:
        return "temporary"
    return "funds" if code in _FUNDS else "card"


def backoff(code: str) -> timedelta:
    """How long to leave a card alone after this decline."""
    return _BACKOFF[decline_kind(code)]


def month_start(at: datetime) -> datetime:
    """The first instant of the UTC month."""
    return at.astimezone(timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(at: datetime) -> datetime:
    """The first instant of the next UTC month."""
    return period_start(month_start(at), 1)


def day_start(at: datetime) -> datetime:
    """The first instant of the UTC day."""
    return datetime.combine(at.astimezone(timezone.utc).date(), time(), timezone.utc)


def _next_day(at: datetime) -> datetime:
    return day_start(at) + timedelta(days=1)
