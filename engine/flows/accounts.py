"""Opening accounts, and the monthly credits of those on the first plan or on a plan granted by the host.

Period *n* of an account is granted under the key `period:n`, so that it is granted once, whoever runs and however
often. A period that nobody granted while it ran is skipped: its lot would have expired anyway. Where the plan rolls
over, those whose rest reaches the present are granted after their end and expire at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec
from sqlalchemy.exc import IntegrityError
from sqlmodel import Session

from engine import book
from engine.clock import new_account_id
from engine.flows.late_months import grant_late, let_go
from engine.flows.rollover import roll_over
from engine.rules.catalog import Catalog, Plan, describe
from engine.rules.commands import Grant, Outcome, fingerprint_of
from engine.rules.errors import AccountExists, Invalid, Refusal, WalletNotActive
from engine.rules.periods import period_at, period_start
from engine.rules.subscriptions import Period
from engine.runtime import Runtime
from engine.store import accounts, books, replies, subscriptions
from engine.store.accounts import Account
from engine.store.database import reading, transact
from engine.store.tables import AccountRow

BATCH_SIZE_MAX = 500
WAIT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to open. A `plan` is granted by the host; its monthly credits only with `grant_monthly_credits`.

    `scope` is the credential whose idempotency key this is.
    """

    account_id: str | None
    email: str | None
    name: str | None
    country: str | None
    locale: str | None
    plan: str | None
    grant_monthly_credits: bool
    actor: str
    scope: str
    key: str | None

    def fingerprint(self) -> str:
        asked = (self.account_id, self.email, self.name, self.country, self.locale)
        return fingerprint_of("account", (*asked, self.plan, self.grant_monthly_credits))


@dataclass(frozen=True, slots=True)
class OpenedAccount:
    """The account as first answered; `is_replay` when an earlier request with this key opened it."""

    account: Account
    is_replay: bool


def open_account(runtime: Runtime, order: NewAccount, now: datetime) -> OpenedAccount:
    """Open an account with its wallet and its plan's first monthly credits, all at once.

    Raises `AccountExists`, `Invalid` for a plan that the catalogue does not have, `IdempotencyMismatch`.
    """
    account, plan = _drawn_up(runtime.catalog, order, now)
    try:
        return transact(runtime.db, lambda session: _open(session, runtime, order, account, plan))
    except IntegrityError:
        # The same id or key at the same moment: this time the other's row is seen.
        return transact(runtime.db, lambda session: _open(session, runtime, order, account, plan))


def open_within(session: Session, runtime: Runtime, order: NewAccount, now: datetime) -> OpenedAccount:
    """The same inside the caller's transaction; nothing is written if it is refused."""
    account, plan = _drawn_up(runtime.catalog, order, now)
    return _open(session, runtime, order, account, plan)


def _drawn_up(catalog: Catalog, order: NewAccount, now: datetime) -> tuple[Account, Plan | None]:
    """The account as it would be opened now, and the plan it starts on."""
    plan, has_monthly_credits = _plan(catalog, order)
    account = Account(
        account_id=order.account_id or new_account_id(),
        email=order.email,
        name=order.name,
        country=order.country,
        locale=order.locale or "en",
        plan=plan.id if plan else None,
        anchor_at=now,
        next_grant_at=period_start(now, 1) if has_monthly_credits else None,
        created_at=now,
    )
    return account, plan


def _open(session: Session, runtime: Runtime, order: NewAccount, account: Account, plan: Plan | None) -> OpenedAccount:
    print_of_order = order.fingerprint()
    if order.key is not None:
        kept = replies.find(session, order.scope, "account", order.key, print_of_order)
        if kept is not None:
            return OpenedAccount(msgspec.json.decode(kept.answer, type=Account), is_replay=True)
    if accounts.find_account(session, account.account_id) is not None:
        raise AccountExists(account.account_id)
    accounts.add_account(session, account)
    if account.next_grant_at is not None and plan is not None and plan.monthly_credits > 0:
        (outcome,) = book.post(session, [_grant(runtime.catalog, account, plan, 0)], runtime.terms, account.created_at)
        assert not isinstance(outcome, Refusal), "a new wallet takes its first credits"
    if order.key is not None:
        answer = msgspec.json.encode(account).decode()
        replies.keep(session, order.scope, "account", order.key, print_of_order, 201, answer, account.created_at)
        session.flush()
    return OpenedAccount(account, is_replay=False)


def _plan(catalog: Catalog, order: NewAccount) -> tuple[Plan | None, bool]:
    """The plan an account starts on, and whether its monthly credits come with it."""
    if order.plan is None:
        return catalog.first_plan, catalog.first_plan is not None
    try:
        return catalog.plan(order.plan), order.grant_monthly_credits
    except KeyError as error:
        raise Invalid("plan", "The catalogue has no such plan.") from error


def _grant(catalog: Catalog, account: Account, plan: Plan, period: int) -> Grant:
    """The monthly credits of one period; they expire when it ends."""
    return Grant(
        operation=subscriptions.PERIOD,
        account_id=account.account_id,
        actor="system",
        type="monthly_credit",
        source="subscription",
        bucket="monthly",
        credits=plan.monthly_credits,
        description=describe(catalog.descriptions.monthly_credit, plan=plan.name),
        expires_at=period_start(account.anchor_at, period + 1),
        reference_type="subscription",
        reference_id=plan.id,
        key=f"period:{period}",
    )


def grant_due_months(runtime: Runtime, now: datetime, limit: int = BATCH_SIZE_MAX) -> int:
    """Grant the present period's monthly credits to accounts for which they are due; how many were looked at.

    Raises `Unavailable` when the database does not answer: those that were not granted are due again.
    """
    with reading(runtime.db) as session:
        due = accounts.due_accounts(session, now, limit)
    _grant_months(runtime, due, now)
    return len(due)


def grant_due_month(runtime: Runtime, account_id: str, now: datetime) -> None:
    """The same for one account; nothing if it is not due."""
    with reading(runtime.db) as session:
        account = accounts.find_account(session, account_id)
    if account is not None and account.next_grant_at is not None and account.next_grant_at <= now:
        _grant_months(runtime, [account], now)


def _grant_months(runtime: Runtime, due: Sequence[Account], now: datetime) -> None:
    """Those that only take their credits are granted together; one that rolls over has a transaction of its own."""
    grants = []
    for account in due:
        plan = next((p for p in runtime.catalog.plans if p.id == account.plan), None)
        if plan is not None and plan.rollover_periods > 0:
            transact(runtime.db, lambda session, a=account, p=plan: _roll_over(session, runtime, a, p, now))  # type: ignore[misc]
        elif plan is not None and plan.monthly_credits > 0:
            grants.append(_grant(runtime.catalog, account, plan, period_at(account.anchor_at, now)))
        else:
            transact(runtime.db, lambda session, a=account: _move_on(session, a, None, now))  # type: ignore[misc]
    futures = runtime.group.submit_all(grants)
    outcomes = {
        grant.account_id: future.result(WAIT.total_seconds()) for grant, future in zip(grants, futures, strict=True)
    }
    for account in due:
        if account.account_id in outcomes:
            outcome = outcomes[account.account_id]
            transact(runtime.db, lambda session, a=account, o=outcome: _move_on(session, a, o, now))  # type: ignore[misc]


def _roll_over(session: Session, runtime: Runtime, account: Account, plan: Plan, now: datetime) -> None:
    """What the period before left unspent lives on as far as the plan says, and what those before it did that nobody
    granted; then the present period's own credits. Nothing if the account's plan was changed since it was read."""
    page = books.lock_wallets(session, [account.account_id], runtime.clock.now())[account.account_id]
    present = session.get_one(AccountRow, account.account_id, populate_existing=True)
    if (present.plan, present.next_grant_at) != (account.plan, account.next_grant_at) or present.next_grant_at is None:
        return
    n = period_at(account.anchor_at, page.at)
    due = period_at(account.anchor_at, present.next_grant_at)
    for period in range(max(due, n - plan.rollover_periods), n + 1):
        month = Period(period_start(account.anchor_at, period), period_start(account.anchor_at, period + 1))
        roll_over(session, runtime, account.account_id, plan, account.anchor_at, month, plan.id)
        if period < n:
            _grant_late(session, runtime, account, plan, period)
    outcome: Outcome | None = None
    if plan.monthly_credits > 0:
        grant = _grant(runtime.catalog, account, plan, period_at(account.anchor_at, now))
        (outcome,) = book.post(session, [grant], runtime.terms, runtime.clock.now())
    _move_on(session, account, outcome, now)


def _grant_late(session: Session, runtime: Runtime, account: Account, plan: Plan, period: int) -> None:
    """The credits of a period that is over, as a lot that expires at once; the wallet is locked."""
    grant = _grant(runtime.catalog, account, plan, period)
    assert grant.key is not None and grant.expires_at is not None
    if subscriptions.granted_under(session, account.account_id, [grant.key], subscriptions.PERIOD) > 0:
        return
    at = books.lock_wallets(session, [account.account_id], runtime.clock.now())[account.account_id].at
    if not isinstance(grant_late(session, runtime, grant, plan.name, grant.expires_at, at), Refusal):
        let_go(session, runtime, account.account_id, at)


def _move_on(session: Session, account: Account, outcome: Outcome | None, now: datetime) -> None:
    """Note the next period, unless this one ended meanwhile and the next is due at once; a closed wallet has none."""
    if isinstance(outcome, Invalid) and outcome.facts["field"] == "expiresAt":
        return
    following: datetime | None = period_start(account.anchor_at, period_at(account.anchor_at, now) + 1)
    if isinstance(outcome, WalletNotActive):
        following = None
    accounts.set_next_grant(session, account, following)
