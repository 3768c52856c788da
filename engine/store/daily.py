"""What a wallet spent each day, read from its ledger."""

from datetime import date, datetime

from sqlalchemy import String, cast, func, select
from sqlmodel import Session

from engine.rules.ledger import Wallet
from engine.store.history import first_seq
from engine.store.tables import Base

_TABLE = Base.metadata.tables["transactions"]


def spent_by_day(session: Session, wallet: Wallet, start: datetime) -> dict[date, int]:
    """Credits debited on each UTC day from `start` (a midnight) on; a reversal lowers the day of its debit.

    Costs what the rows since `start` cost. Instants are kept, or shown by the server, in UTC, so the first ten
    characters of one are its day.
    """
    lowest = first_seq(session, wallet, start)
    debit, undone = _TABLE.alias("debit"), _TABLE.alias("undone")
    day = func.substr(cast(debit.c.created_at, String), 1, 10)
    mine = (debit.c.account_id == wallet.account_id, debit.c.seq >= lowest, debit.c.type == "debit")
    spent = session.execute(select(day, func.sum(-debit.c.amount_credits)).where(*mine).group_by(day)).all()
    returned = session.execute(
        select(day, func.sum(undone.c.amount_credits))
        .select_from(undone)
        .join(debit, (debit.c.account_id == undone.c.account_id) & (debit.c.transaction_id == undone.c.reverses_id))
        .where(
            undone.c.account_id == wallet.account_id,
            undone.c.seq >= lowest,
            undone.c.type == "debit_reversal",
            *mine,
        )
        .group_by(day)
    ).all()
    back = {text: int(credits) for text, credits in returned}
    return {date.fromisoformat(text): int(credits) - back.get(text, 0) for text, credits in spent}
