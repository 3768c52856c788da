"""Whether auto-recharge fires, guard by guard, and what each decline costs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from engine.rules.catalog import AutoRecharge
from engine.rules.recharge import Situation, Verdict, Wish, backoff, decide, decline_kind, is_expired, next_month

NOW = datetime(2026, 11, 30, 23, 30, tzinfo=UTC)
RULES = AutoRecharge(
    threshold_min_credits=0,
    threshold_max_credits=1_000,
    amount_min_minor=100,
    amount_max_minor=10_000,
    cooldown_minutes=10,
    max_per_day=5,
)
WISH = Wish(is_enabled=True, threshold_credits=10, amount_minor=500, method_id="card_1", monthly_cap_minor=1_000)
LOW = Situation(
    available_credits=10,
    wallet_status="active",
    has_card=True,
    is_card_expired=False,
    may_top_up=True,
    is_in_flight=False,
    last_fired_at=None,
    fired_today=0,
    charged_this_month_minor=0,
    backoff_until_at=None,
)
MIDNIGHT = datetime(2026, 12, 1, tzinfo=UTC)


def test_at_the_threshold_it_fires_and_one_above_it_waits_armed() -> None:
    assert decide(WISH, LOW, RULES, NOW) == Verdict(True, "at_or_below_threshold")
    above = replace(LOW, available_credits=11)
    assert decide(WISH, above, RULES, NOW) == Verdict(False, "above_threshold", is_armed=True)


@pytest.mark.parametrize(
    ("change", "reason", "again_at"),
    [
        ({"wallet_status": "suspended"}, "wallet_not_active", None),
        ({"is_in_flight": True}, "in_flight", None),
        ({"may_top_up": False}, "not_in_plan", MIDNIGHT),
        ({"has_card": False}, "no_card", None),
        ({"is_card_expired": True}, "card_expired", None),
        ({"backoff_until_at": NOW + timedelta(hours=3)}, "backoff_after_decline", NOW + timedelta(hours=3)),
        ({"last_fired_at": NOW - timedelta(minutes=9)}, "cooldown", NOW + timedelta(minutes=1)),
        ({"fired_today": 5}, "max_per_day", MIDNIGHT),
        ({"charged_this_month_minor": 501}, "monthly_cap", MIDNIGHT),
    ],
)
def test_each_guard_says_why_and_when_to_look_again(
    change: dict[str, object], reason: str, again_at: datetime | None
) -> None:
    verdict = decide(WISH, replace(LOW, **change), RULES, NOW)  # type: ignore[arg-type]
    assert (verdict.fires, verdict.reason, verdict.again_at) == (False, reason, again_at)


def test_every_limit_is_met_exactly() -> None:
    just = replace(
        LOW,
        last_fired_at=NOW - timedelta(minutes=10),
        fired_today=4,
        charged_this_month_minor=500,
        backoff_until_at=NOW,
    )
    assert decide(WISH, just, RULES, NOW).fires


def test_what_is_off_or_not_complete_never_fires() -> None:
    for wish in (Wish(), replace(WISH, is_enabled=False), replace(WISH, amount_minor=None)):
        assert decide(wish, LOW, RULES, NOW) == Verdict(False, "off")


@pytest.mark.parametrize(
    ("code", "kind", "hours"),
    [
        ("authentication_required", "authentication", 24),
        ("processing_error", "temporary", 1),
        ("insufficient_funds", "funds", 24),
        ("stolen_card", "card", 72),
        ("a code nobody has seen", "card", 72),
    ],
)
def test_a_decline_rests_the_card_by_its_kind(code: str, kind: str, hours: int) -> None:
    assert decline_kind(code) == kind and backoff(code) == timedelta(hours=hours)


def test_a_month_ends_at_its_own_midnight() -> None:
    assert next_month(NOW) == MIDNIGHT
    assert next_month(datetime(2026, 12, 31, 12, tzinfo=UTC)) == datetime(2027, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "is_over"),
    [
        (datetime(2026, 12, 31, 23, 59, tzinfo=UTC), False),
        (datetime(2027, 1, 1, 11, 59, tzinfo=UTC), False),
        (datetime(2027, 1, 1, 12, 0, tzinfo=UTC), True),
    ],
)
def test_a_card_is_good_until_its_month_has_ended_everywhere(at: datetime, is_over: bool) -> None:
    assert is_expired(2026, 12, at) is is_over
