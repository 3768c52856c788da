"""The year of a subscriber, told as a table on both databases: every step, what is left of it, every credit counted.

A row is a day of the story, what happens, the plan and status after it, and the Monthly and Recharge credits.
"""

from typing import Any

from msgspec.structs import replace
from sqlmodel import select

from engine.store.database import Database, reading
from engine.store.tables import DocumentRow
from tests.api.subscriber import Subscriber, subscriber
from tests.engine.support import FakeClock

STORY = """
2026-11-30T08:00Z  subscribe pro          pro    trialing   700    0
2026-12-02T08:00Z  spend 150              pro    trialing   550    0
2026-12-14T08:00Z  renew                  pro    active     10000  0
2026-12-20T08:00Z  spend 4000             pro    active     6000   0
2026-12-29T20:00Z  upgrade elite          elite  active     21000  0
2027-01-02T08:00Z  spend 20500            elite  active     500    0
2027-01-03T08:00Z  top-up 2000            elite  active     500    2000
2027-01-03T09:00Z  spend 1000             elite  active     0      1500
2027-01-14T08:00Z  payment-failed         elite  past_due   0      1500
2027-01-15T08:00Z  spend 500              elite  past_due   0      1000
2027-01-16T08:00Z  renew                  elite  active     40000  1000
2027-02-01T08:00Z  downgrade base         elite  active     40000  1000
2027-02-14T08:00Z  renew                  base   active     3000   1000
2027-02-20T08:00Z  cancel                 base   active     3000   1000
2027-02-21T08:00Z  reactivate             base   active     3000   1000
2027-03-14T08:00Z  renew                  base   active     3000   1000
2027-03-20T08:00Z  spend 3200             base   active     0      800
2027-04-14T09:00Z  wait                   base   past_due   0      800
2027-04-17T08:00Z  wait                   free   active     100    800
2027-04-20T08:00Z  subscribe base         base   active     3100   800
2027-05-02T09:30Z  wait                   base   active     3000   800
2027-05-20T08:00Z  payment-failed         base   past_due   0      800
2027-05-22T08:00Z  renew                  base   active     3000   800
2027-05-25T08:00Z  top-up 2000            base   active     3000   2800
2027-06-20T08:00Z  renew                  base   active     3000   2800
2027-07-01T08:00Z  cancel                 base   active     3000   2800
2027-07-20T08:00Z  wait                   free   active     100    2800
2027-08-02T09:30Z  wait                   free   active     100    2800
2027-09-02T09:30Z  wait                   free   active     100    2800
2027-11-29T08:00Z  wait                   free   active     100    2800
"""

NOTICES = [
    "subscriptionChanged",
    "subscriptionPastDue",
    *["subscriptionChanged"] * 4,
    "subscriptionPastDue",
    "subscriptionEnded",
    "subscriptionPastDue",
    "subscriptionChanged",
    "subscriptionEnded",
]
"""Upgrade; a failed payment; a downgrade asked for and begun; cancelled and taken back; silence and its end; …"""


def with_trial(catalog: Any) -> Any:
    plans = tuple(
        replace(plan, trial_days=14, trial_credits=600) if plan.id == "pro" else plan for plan in catalog.plans
    )
    return replace(catalog, plans=plans)


def happens(mira: Subscriber, what: str, value: str) -> None:
    match what:
        case "subscribe":
            mira.subscribe(value)
        case "upgrade" | "downgrade":
            would = mira.preview(value)
            before = {payment["id"] for payment in mira.payments()}
            mira.change(value)
            charged = [payment["amountMinor"] for payment in mira.payments() if payment["id"] not in before]
            assert charged == ([would["dueNowMinor"]] if would["dueNowMinor"] else [])
        case "cancel" | "reactivate":
            mira.act(what)
        case "renew" | "payment-failed":
            mira.play(what)
        case "spend":
            assert mira.host.spend(mira.path, value).status_code == 201
        case "top-up":
            answer = mira.host.post(f"{mira.path}/checkout", {"amountUsdCents": int(value)})
            assert answer.status_code == 201, answer.text
            mira.press(answer.json()["checkoutUrl"], "pay")
        case "wait":
            pass
        case _:
            raise AssertionError(what)


def test_the_year_of_a_subscriber(db: Database, clock: FakeClock) -> None:
    mira = subscriber(db, clock, with_trial)
    try:
        rows = [line.split() for line in STORY.strip().splitlines()]
        for at, what, *rest in rows:
            value, plan, status, monthly, recharge = rest if len(rest) == 5 else ("", *rest)
            mira.wait_until(at)
            happens(mira, what, value)
            now = mira.subscription()
            buckets = mira.host.buckets(mira.path)
            told = (now["plan"], now["status"], buckets["monthly"], buckets["recharge"])
            assert told == (plan, status, int(monthly), int(recharge)), f"{at} {what} {value}"
            entitlements = mira.host.get(f"{mira.path}/entitlements").json()
            assert (entitlements["plan"], entitlements["features"]["custom_credits"]) == (plan, plan != "free")
        every_credit_is_accounted_for(mira)
    finally:
        mira.runtime.group.close()


def every_credit_is_accounted_for(mira: Subscriber) -> None:
    """The ledger sums up by kind, each payment has what was granted for it and a receipt, and the audit is clean."""
    rows = []
    for page in range(1, 4):
        rows += mira.host.get(f"{mira.path}/transactions", limit=100, page=page).json()["transactions"]
    sums: dict[str, int] = {}
    for row in rows:
        sums[row["type"]] = sums.get(row["type"], 0) + int(row["amountCredits"])
    assert sums["deposit"] == 4_000
    assert sums["debit"] == -(150 + 4_000 + 20_500 + 1_000 + 500 + 3_200)
    assert sum(sums.values()) == int(mira.host.balance(mira.path)["balanceCredits"]) == 2_900
    payments = mira.payments()
    plans = [payment for payment in payments if payment["amountMinor"] not in (2_000,)]
    subscribed = sum(int(payment["creditsGranted"]) for payment in plans)
    free = sum(int(r["amountCredits"]) for r in rows if r["type"] == "monthly_credit" and r["referenceId"] == "free")
    assert sums["monthly_credit"] == subscribed + free + 600, "what plans gave, Free's hundreds and the trial"
    with reading(mira.runtime.db) as session:
        receipts = session.exec(select(DocumentRow.purchase_id).where(DocumentRow.kind == "receipt")).all()
    assert len(payments) == 10 and sorted(receipts) == sorted(payment["id"] for payment in payments)
    assert mira.is_clean()
    told = [notice for notice in mira.notices() if notice.startswith("subscription")]
    assert told == NOTICES
