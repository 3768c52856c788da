"""What an account's subscription is now, with what time has changed carried out first, so that no read is stale."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
import structlog
from sqlmodel import Session

from engine.flows import receive
from engine.flows.store_renewals import take_renewals
from engine.flows.subscription_facts import settle
from engine.flows.subscription_months import COVERING, highest_level, months_of, paid_invoices
from engine.flows.subscription_standing import standing_of
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.recurring import SubscriptionProvider, SubscriptionStore
from engine.rules.errors import NotFound
from engine.rules.periods import period_at, period_start
from engine.rules.subscriptions import Period, Standing, Terms
from engine.runtime import Runtime
from engine.store import books, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, SubscriptionInvoiceRow, SubscriptionRow

BATCH_SIZE_MAX = 200
AFTER_AN_ERROR = timedelta(minutes=15)
"""When a subscription is looked at again that could not be carried on."""

log = structlog.get_logger()


class Current(msgspec.Struct, frozen=True, kw_only=True):
    """An account's plan and where it comes from; without a provider it is the first plan, or one the host granted."""

    plan: str | None
    interval: str | None
    status: str
    provider: str | None
    reference: str | None
    period_start: datetime | None
    period_end: datetime | None
    cancel_at_period_end: bool
    pending_plan: str | None
    monthly_credits: int


@dataclass(frozen=True, slots=True)
class Live:
    """A subscription that can be changed, with its terms, its paid invoices and where it stands."""

    row: SubscriptionRow
    terms: Terms
    paid: tuple[SubscriptionInvoiceRow, ...]
    stands: Standing

    def month_at(self, at: datetime) -> tuple[Period, int]:
        """The month of credits that `at` lies in, and the monthly credits it is granted for."""
        for invoice in self.paid:
            if invoice.kind in COVERING:
                for month in months_of(self.row, invoice):
                    if month.start <= at < month.end:
                        return month, highest_level(invoice, self.paid)
        return self.period, self.terms.plan.monthly_credits

    @property
    def period(self) -> Period:
        return Period(self.row.period_start_at, self.row.period_end_at)


def settle_due(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Carry out what time has changed: months that began, periods and graces that ended; how many were looked at.

    The provider is asked first: a webhook that was lost must not end a plan that was paid for. A subscription that
    fails stops none of the others.
    """
    with reading(runtime.db) as session:
        due = [
            subscriptions.get_subscription(session, *key)
            for key in subscriptions.due_subscriptions(session, now, limit)
        ]
    for row in due:
        assert row is not None
        try:
            _fetch(runtime, row)
            transact(runtime.db, lambda session, r=row: _settle(session, runtime, r.account_id, r.subscription_id))  # type: ignore[misc]
        except Exception:
            log.exception("subscription failed", subscription_id=row.subscription_id)
            transact(runtime.db, lambda session, r=row: _put_off(session, r, now))  # type: ignore[misc]
    return len(due)


def _put_off(session: Session, row: SubscriptionRow, now: datetime) -> None:
    books.lock_wallets(session, [row.account_id], now)
    there = subscriptions.get_subscription(session, row.account_id, row.subscription_id, lock=True)
    if there is not None and there.next_at == row.next_at:
        there.next_at = now + AFTER_AN_ERROR
        session.add(there)


def _fetch(runtime: Runtime, row: SubscriptionRow) -> None:
    """Bring the provider's present word on a subscription, if it can be had; its events come in any case."""
    provider = runtime.providers.get(row.provider)
    name = row.reference or row.session_id
    if name is None:
        return
    with suppress(ProviderUnreachable, ProviderRefused):
        if isinstance(provider, SubscriptionStore):
            told = provider.renewals(name)
            if told:
                take_renewals(runtime, provider, told, lambda session: None)
        elif isinstance(provider, SubscriptionProvider):
            receive.carry_out(runtime, provider, provider.subscription(name))


def settle_account(runtime: Runtime, account_id: str) -> None:
    """The same for one account, before its subscription is read."""
    now = runtime.clock.now()
    with reading(runtime.db) as session:
        rows = subscriptions.subscriptions_of(session, account_id)
    for row in rows:
        if row.next_at is not None and row.next_at <= now:
            transact(runtime.db, lambda session, s=row.subscription_id: _settle(session, runtime, account_id, s))  # type: ignore[misc]


def _settle(session: Session, runtime: Runtime, account_id: str, subscription_id: str) -> None:
    books.lock_wallets(session, [account_id], runtime.clock.now())
    row = subscriptions.get_subscription(session, account_id, subscription_id, lock=True)
    if row is not None and row.next_at is not None and row.next_at <= runtime.clock.now():
        settle(session, runtime, row, "system")


def current(runtime: Runtime, account_id: str) -> Current:
    """The account's subscription as it is shown; `NotFound` if there is no such account."""
    settle_account(runtime, account_id)
    with reading(runtime.db) as session:
        return read_current(session, runtime, account_id)


def read_current(session: Session, runtime: Runtime, account_id: str) -> Current:
    """The same inside a caller's transaction."""
    account = session.get(AccountRow, account_id)
    if account is None:
        raise NotFound("account")
    live = find_live(session, runtime, account_id)
    if live is None:
        return _without(runtime, account)
    row, holds = live.row, live.stands.holds_plan
    return Current(
        plan=live.terms.plan.id if holds else account.plan,
        interval=live.terms.interval,
        status=live.stands.status,
        provider=row.provider,
        reference=row.reference,
        period_start=row.period_start_at,
        period_end=row.period_end_at,
        cancel_at_period_end=row.cancel_at_period_end,
        pending_plan=row.pending_plan,
        monthly_credits=live.terms.plan.monthly_credits if holds else _own_monthly_credits(runtime, account),
    )


def find_live(session: Session, runtime: Runtime, account_id: str) -> Live | None:
    """The subscription that the account's plan comes from, else one that is paused; `None` if none is running."""
    return best(running(session, runtime, account_id))


def best(found: Sequence[Live]) -> Live | None:
    """Of subscriptions, newest first, the one that a plan comes from."""
    return max(found, key=lambda live: (live.stands.holds_plan, live.terms.plan.rank), default=None)


def running(session: Session, runtime: Runtime, account_id: str) -> list[Live]:
    """The account's subscriptions that have begun and not ended, newest first."""
    now = runtime.clock.now()
    found = []
    for row in subscriptions.subscriptions_of(session, account_id):
        if row.state in ("incomplete", "ended"):
            continue
        paid = tuple(paid_invoices(subscriptions.invoices_of(session, account_id, row.subscription_id)))
        stands = standing_of(runtime, row, paid, now)
        if stands.status not in ("incomplete", "ended"):
            found.append(Live(row, subscriptions.read_terms(row.terms), paid, stands))
    return found


def _without(runtime: Runtime, account: AccountRow) -> Current:
    """The account's own plan; its period is that of the monthly credits that come from here, if any do."""
    start = end = None
    if account.next_grant_at is not None:
        n = period_at(account.anchor_at, max(runtime.clock.now(), account.anchor_at))
        start, end = period_start(account.anchor_at, n), period_start(account.anchor_at, n + 1)
    return Current(
        plan=account.plan,
        interval=None,
        status="active",
        provider=None,
        reference=None,
        period_start=start,
        period_end=end,
        cancel_at_period_end=False,
        pending_plan=None,
        monthly_credits=_own_monthly_credits(runtime, account),
    )


def _own_monthly_credits(runtime: Runtime, account: AccountRow) -> int:
    """What the account's own plan gives a month; 0 where its credits do not come from here."""
    if account.next_grant_at is None:
        return 0
    return next((plan.monthly_credits for plan in runtime.catalog.plans if plan.id == account.plan), 0)
