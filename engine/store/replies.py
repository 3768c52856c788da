"""First answers to keyed requests that are not ledger commands: a checkout, a new account, a reversal."""

import json
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session, SQLModel

from engine.rules.errors import IdempotencyMismatch
from engine.store.tables import ReplyRow

R = TypeVar("R", bound=SQLModel)


def find(session: Session, scope: str, operation: str, key: str, fingerprint: str) -> ReplyRow | None:
    """What this key was answered first, or `None`; `IdempotencyMismatch` if it named another request.

    `scope` is the account, or the credential for what has no account yet.
    """
    row = session.get(ReplyRow, (scope, operation, key))
    if row is not None and row.fingerprint != fingerprint:
        raise IdempotencyMismatch
    return row


def snapshot(row: SQLModel) -> str:
    """A row as it is now, to be kept as an answer: what comes of it later is no part of the first answer."""
    return row.model_dump_json()


def told(shape: type[R], answer: str) -> R | None:
    """The row that `snapshot` kept, outside any session; `None` for an answer that only names it."""
    return shape.model_validate(json.loads(answer)) if answer.startswith("{") else None


def keep(
    session: Session, scope: str, operation: str, key: str, fingerprint: str, status: int, answer: str, now: datetime
) -> None:
    """Keep an answer for good, in the transaction that made it true. A race ends in a constraint error."""
    session.add(
        ReplyRow(
            scope=scope,
            operation=operation,
            idempotency_key=key,
            fingerprint=fingerprint,
            status=status,
            answer=answer,
            created_at=now,
        )
    )
