"""What accounts want to be told, and what they were told once. Callers hold the wallet's lock where they write."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import msgspec
from sqlalchemy import Row, and_, case, exists, func, literal, select, text, union_all
from sqlmodel import Session, col

from engine.rules.alerts import UNUSUAL_DAYS, UNUSUAL_FACTOR
from engine.rules.preferences import EmailNotifications
from engine.rules.subscriptions import Ending
from engine.store.bulk import update_rows
from engine.store.front_lots import carried
from engine.store.subscriptions import ROLLOVER
from engine.store.tables import (
    AccountRow,
    AlertMarkRow,
    AlertSettingsRow,
    CredentialRow,
    KeyUsageDailyRow,
    LotRow,
    TransactionRow,
    UsageDailyRow,
    WalletRow,
)

STORED = tuple(name for name in EmailNotifications.__struct_fields__ if name != "payment_confirmed")
"""Whether payments are confirmed is nobody's choice, so it is no column."""


def notifications_of(session: Session, account_id: str) -> EmailNotifications:
    """The account's preferences, or the defaults."""
    row = session.get(AlertSettingsRow, account_id)
    if row is None:
        return EmailNotifications()
    return EmailNotifications(**{name: getattr(row, name) for name in STORED})


def keep_notifications(session: Session, account_id: str, preferences: EmailNotifications) -> None:
    chosen = {name: getattr(preferences, name) for name in STORED}
    assert tuple(chosen) == STORED and set(msgspec.structs.asdict(preferences)) == {*STORED, "payment_confirmed"}
    session.merge(AlertSettingsRow(account_id=account_id, **chosen))


def set_threshold(session: Session, account_id: str, credits: int | None) -> None:
    update_rows(session, "wallets", ("account_id",), ("low_balance_credits",), [(account_id, credits)])


def mark_once(session: Session, account_id: str, kind: str, subject: str, now: datetime) -> bool:
    """Note that something is told; `False` if it was told before, by whichever process."""
    statement = text(
        "INSERT INTO alert_marks (account_id, kind, subject, created_at) VALUES (:account, :kind, :subject, :now) "
        "ON CONFLICT (account_id, kind, subject) DO NOTHING RETURNING subject"
    )
    found = session.execute(statement, {"account": account_id, "kind": kind, "subject": subject, "now": now})
    return found.first() is not None


@dataclass(frozen=True, slots=True)
class ExpiringLot:
    """A lot about whose expiry its owner may be told; `credits` is what remains of it and what is held, once each.

    `ending` is what rollover sees of it, if it is of a plan's month.
    """

    lot_id: str
    bucket: str
    expires_at: datetime
    credits: int
    ending: Ending | None


def accounts_to_warn(session: Session, now: datetime, limit: int) -> list[str]:
    """Accounts with a lot whose warning is due, longest due first."""
    rows = session.execute(
        select(col(LotRow.account_id)).where(col(LotRow.warn_at) <= now).order_by(col(LotRow.warn_at)).limit(limit)
    )
    return list(dict.fromkeys(rows.scalars()))


def lots_to_warn(session: Session, account_id: str, before: datetime) -> list[ExpiringLot]:
    """The account's lots whose warning is due before an instant, the soonest to expire first."""
    left = carried(session, account_id)
    rows = session.execute(
        select(
            col(LotRow.lot_id),
            col(LotRow.bucket),
            col(LotRow.source),
            col(LotRow.expires_at),
            col(LotRow.remaining_credits),
            col(LotRow.held_credits),
            col(TransactionRow.operation),
        )
        .join(
            TransactionRow,
            and_(
                col(TransactionRow.account_id) == col(LotRow.account_id),
                col(TransactionRow.seq) == col(LotRow.granted_seq),
            ),
        )
        .where(col(LotRow.account_id) == account_id, col(LotRow.warn_at) < before)
        .order_by(col(LotRow.expires_at), col(LotRow.bucket_order), col(LotRow.granted_seq))
    )
    return [_expiring(row, left.get(row.lot_id, row.remaining_credits)) for row in rows]


def _expiring(row: Row[Any], left_credits: int) -> ExpiringLot:
    is_of_a_month = row.bucket == "monthly" and row.source == "subscription"
    ending = Ending(left_credits, row.operation == ROLLOVER) if is_of_a_month else None
    return ExpiringLot(row.lot_id, row.bucket, row.expires_at, left_credits + row.held_credits, ending)


def set_warnings(session: Session, account_id: str, warnings: Sequence[tuple[str, datetime | None]]) -> None:
    """Note when each of these lots is warned about next."""
    rows = [(account_id, lot_id, warn_at) for lot_id, warn_at in warnings]
    update_rows(session, "lots", ("account_id", "lot_id"), ("warn_at",), rows)


@dataclass(frozen=True, slots=True)
class EndingMonth:
    """A month that no subscription pays for, and when it ends."""

    account_id: str
    ends_at: datetime


CLIPPED = "rolloverClipped"
"""The kind of mark of a month that was looked at for what its plan's cap clips, by the day of its end."""


def months_to_look_at(
    session: Session, plans: Sequence[str], now: datetime, until: datetime, limit: int
) -> list[EndingMonth]:
    """Months on these plans that no subscription pays for, that end in `(now, until]` and were not looked at for what
    a cap clips, the soonest to end first."""
    today, ends_at = now.astimezone(timezone.utc).date(), col(AccountRow.next_grant_at)
    days = [today + timedelta(days=n) for n in range((until - now).days + 2)]
    midnights = [datetime.combine(each + timedelta(days=1), time(), timezone.utc) for each in days]
    day = case(
        *[(ends_at < midnight, _subject(each)) for each, midnight in zip(days, midnights, strict=True)], else_=""
    )
    told = exists().where(
        col(AlertMarkRow.account_id) == col(AccountRow.account_id),
        col(AlertMarkRow.kind) == CLIPPED,
        col(AlertMarkRow.subject) == day,
    )
    rows = session.execute(
        select(col(AccountRow.account_id), ends_at)
        .where(ends_at > now, ends_at <= until, col(AccountRow.plan).in_(plans), ~told)
        .order_by(ends_at, col(AccountRow.account_id))
        .limit(limit)
    )
    return [EndingMonth(account_id, at) for account_id, at in rows]


def mark_month(session: Session, month: EndingMonth, now: datetime) -> bool:
    """Note that a month is looked at; `False` if it was before."""
    return mark_once(session, month.account_id, CLIPPED, _subject(month.ends_at.astimezone(timezone.utc).date()), now)


@dataclass(frozen=True, slots=True)
class Activity:
    """What was spent on a day, and on the days before it that it is compared with: with one key, or without any."""

    account_id: str
    spent_credits: int
    spent_before_credits: int
    api_key_id: str | None = None
    key_name: str | None = None

    def subject(self, day: date) -> str:
        """What the mark of having told it names."""
        return _subject(day) if self.api_key_id is None else f"{_subject(day)}/{self.api_key_id}"


def _subject(day: date) -> str:
    return day.isoformat()


def busy_keys(session: Session, today: date, first: date, made_before: datetime, limit: int) -> list[Activity]:
    """API keys with which far more was spent today than in `[first, today)`, that are old enough and not told of."""
    use, key = KeyUsageDailyRow, CredentialRow
    spent = func.sum(case((col(use.day) == today, col(use.credits_spent)), else_=0))
    before = func.sum(case((col(use.day) < today, col(use.credits_spent)), else_=0))
    told = exists().where(
        col(AlertMarkRow.account_id) == col(use.account_id),
        col(AlertMarkRow.kind) == "unusualActivity",
        col(AlertMarkRow.subject) == literal(f"{_subject(today)}/") + col(use.api_key_id),
    )
    rows = session.execute(
        select(col(use.account_id), col(use.api_key_id), col(key.name), spent, before)
        .join(key, and_(col(key.credential_id) == col(use.api_key_id), col(key.account_id) == col(use.account_id)))
        .where(col(use.day) >= first, col(use.day) <= today, col(key.created_at) <= made_before, ~told)
        .group_by(col(use.account_id), col(use.api_key_id), col(key.name))
        .having(spent * UNUSUAL_DAYS > before * UNUSUAL_FACTOR, before > 0)
        .order_by(col(use.account_id), col(use.api_key_id))
        .limit(limit)
    )
    return [Activity(account, int(now), int(earlier), key_id, name) for account, key_id, name, now, earlier in rows]


def _spent_without_key(first: date, until: date) -> Any:  # noqa: ANN401 - a subquery of any shape
    """What each account spent in `[first, until)` beside what counted on its keys."""
    usage, keys, wallet = UsageDailyRow, KeyUsageDailyRow, WalletRow
    on_keys = (
        select(col(keys.account_id).label("account_id"), func.sum(col(keys.credits_spent)).label("spent"))
        .where(col(keys.day) >= first, col(keys.day) < until)
        .group_by(col(keys.account_id))
        .subquery()
    )
    uses = union_all(
        select(col(usage.account_id).label("account_id"), col(usage.credits_spent).label("credits")).where(
            col(usage.day) >= first, col(usage.day) < until
        ),
        select(col(wallet.account_id), col(wallet.used_credits)).where(
            col(wallet.used_on) >= first, col(wallet.used_on) < until
        ),
    ).subquery()
    in_all = select(uses.c.account_id, func.sum(uses.c.credits).label("spent")).group_by(uses.c.account_id).subquery()
    spent = (in_all.c.spent - func.coalesce(on_keys.c.spent, 0)).label("spent")
    return (
        select(in_all.c.account_id, spent)
        .outerjoin(on_keys, on_keys.c.account_id == in_all.c.account_id)
        .where(spent > 0)
        .subquery()
    )


def busy_accounts(session: Session, today: date, first: date, opened_before: datetime, limit: int) -> list[Activity]:
    """Accounts that spent today and in `[first, today)` without a key, are old enough, and were not told of today yet.

    Only rows of these days are read, by their index.
    """
    now_spent, before = _spent_without_key(today, today + timedelta(days=1)), _spent_without_key(first, today)
    told = exists().where(
        col(AlertMarkRow.account_id) == now_spent.c.account_id,
        col(AlertMarkRow.kind) == "unusualActivity",
        col(AlertMarkRow.subject) == _subject(today),
    )
    rows = session.execute(
        select(now_spent.c.account_id, now_spent.c.spent, before.c.spent)
        .join(before, before.c.account_id == now_spent.c.account_id)
        .join(AccountRow, col(AccountRow.account_id) == now_spent.c.account_id)
        .where(col(AccountRow.created_at) <= opened_before, ~told)
        .where(now_spent.c.spent * UNUSUAL_DAYS > before.c.spent * UNUSUAL_FACTOR)
        .order_by(now_spent.c.account_id)
        .limit(limit)
    )
    return [Activity(account_id, int(spent), int(earlier)) for account_id, spent, earlier in rows]


def accounts_to_sum_up(session: Session, kind: str, subject: str, limit: int) -> list[str]:
    """Accounts that want this summary (`dailySummary`, `weeklySummary`) and have not had the one of this period."""
    wanted = AlertSettingsRow.daily_summary if kind == "dailySummary" else AlertSettingsRow.weekly_summary
    had = exists().where(
        col(AlertMarkRow.account_id) == col(AlertSettingsRow.account_id),
        col(AlertMarkRow.kind) == kind,
        col(AlertMarkRow.subject) == subject,
    )
    rows = session.execute(
        select(col(AlertSettingsRow.account_id))
        .where(col(wanted), ~had)
        .order_by(col(AlertSettingsRow.account_id))
        .limit(limit)
    )
    return list(rows.scalars())
