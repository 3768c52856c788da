"""Webhook endpoints and the deliveries to them: events fanned out once, leased, tried again, replayed."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import CursorResult, delete, exists, func, update
from sqlmodel import Session, col, select

from engine.clock import new_id
from engine.store.tables import OutboxRow, WebhookDeliveryRow, WebhookEndpointRow

ENDPOINTS_MAX = 100
COUNTED_MAX = 10_000
"""Totals of lists are exact up to here."""

_events = msgspec.json.Decoder(tuple[str, ...])


class _Typed(msgspec.Struct):
    type: str


def events_of(endpoint: WebhookEndpointRow) -> tuple[str, ...]:
    """The events an endpoint is sent; none named: all of them."""
    return _events.decode(endpoint.events)


def events_text(named: Sequence[str]) -> str:
    """Names of events as the column keeps them."""
    return msgspec.json.encode(tuple(named)).decode()


def is_for(endpoint: WebhookEndpointRow, event_type: str) -> bool:
    named = events_of(endpoint)
    return not named or event_type in named


def all_endpoints(session: Session) -> list[WebhookEndpointRow]:
    """Every endpoint, newest first."""
    newest = col(WebhookEndpointRow.created_at).desc(), col(WebhookEndpointRow.endpoint_id).desc()
    return list(session.exec(select(WebhookEndpointRow).order_by(*newest)).all())


def get_endpoint(session: Session, endpoint_id: str, *, lock: bool = False) -> WebhookEndpointRow | None:
    statement = select(WebhookEndpointRow).where(WebhookEndpointRow.endpoint_id == endpoint_id)
    return session.exec(statement.with_for_update() if lock else statement).first()


def delete_endpoint(session: Session, endpoint_id: str) -> None:
    """Delete an endpoint and what was on its way to it; the events stay in the outbox."""
    session.execute(delete(WebhookDeliveryRow).where(col(WebhookDeliveryRow.endpoint_id) == endpoint_id))
    session.execute(delete(WebhookEndpointRow).where(col(WebhookEndpointRow.endpoint_id) == endpoint_id))


def undelivered_events(session: Session, now: datetime, limit: int, *, lock: bool = False) -> list[OutboxRow]:
    """Events that were not fanned out yet, oldest first; with `lock` held by this transaction and skipped by others."""
    statement = (
        select(OutboxRow)
        .where(col(OutboxRow.done_at).is_(None), OutboxRow.due_at <= now, OutboxRow.kind == "event")
        .order_by(col(OutboxRow.due_at), col(OutboxRow.outbox_id))
        .limit(limit)
    )
    return list(session.exec(statement.with_for_update(skip_locked=True) if lock else statement).all())


def fan_out(session: Session, rows: Sequence[OutboxRow], endpoints: Sequence[WebhookEndpointRow], at: datetime) -> None:
    """A delivery for each event and enabled endpoint that was there before it; then the events are done."""
    for row in rows:
        event_type = type_of(row)
        for endpoint in endpoints:
            if endpoint.is_enabled and endpoint.created_at <= row.created_at and is_for(endpoint, event_type):
                session.add(_delivery(row, event_type, endpoint, at))
        row.done_at = at
        session.add(row)


def type_of(row: OutboxRow) -> str:
    return msgspec.json.decode(row.payload, type=_Typed).type


def _delivery(row: OutboxRow, event_type: str, endpoint: WebhookEndpointRow, at: datetime) -> WebhookDeliveryRow:
    return WebhookDeliveryRow(
        account_id=row.account_id,
        delivery_id=new_id("dlv", at),
        endpoint_id=endpoint.endpoint_id,
        event_id=row.outbox_id,
        event_type=event_type,
        status="pending",
        due_at=at,
        created_at=at,
    )


def events_since(session: Session, since: datetime, after: tuple[datetime, str], limit: int) -> list[OutboxRow]:
    """The next events since an instant, oldest first, after the (instant, id) of the last one that was seen."""
    seen_at, seen_id = after
    later = (col(OutboxRow.created_at) > seen_at) | (
        (col(OutboxRow.created_at) == seen_at) & (col(OutboxRow.outbox_id) > seen_id)
    )
    return list(
        session.exec(
            select(OutboxRow)
            .where(OutboxRow.kind == "event", col(OutboxRow.created_at) >= since, later)
            .order_by(col(OutboxRow.created_at), col(OutboxRow.outbox_id))
            .limit(limit)
        ).all()
    )


def send_again(session: Session, endpoint: WebhookEndpointRow, rows: Iterable[OutboxRow], at: datetime) -> int:
    """Put these events on their way to an endpoint anew, whatever became of them before; how many it wants."""
    count = 0
    for row in rows:
        event_type = type_of(row)
        if not is_for(endpoint, event_type):
            continue
        count += 1
        there = session.exec(
            select(WebhookDeliveryRow).where(
                WebhookDeliveryRow.account_id == row.account_id,
                WebhookDeliveryRow.event_id == row.outbox_id,
                WebhookDeliveryRow.endpoint_id == endpoint.endpoint_id,
            )
        ).first()
        if there is None:
            session.add(_delivery(row, event_type, endpoint, at))
        else:
            restart(session, there, at)
    return count


def restart(session: Session, row: WebhookDeliveryRow, at: datetime) -> None:
    """Start a delivery over: due now, with all its attempts before it."""
    row.status = "pending"
    row.attempts = 0
    row.due_at = at
    row.ended_at = None
    session.add(row)


def find_delivery(session: Session, endpoint_id: str, delivery_id: str) -> WebhookDeliveryRow | None:
    return session.exec(
        select(WebhookDeliveryRow).where(
            WebhookDeliveryRow.endpoint_id == endpoint_id, WebhookDeliveryRow.delivery_id == delivery_id
        )
    ).first()


def deliveries_page(
    session: Session, endpoint_id: str, status: str | None, page: int, limit: int
) -> tuple[list[WebhookDeliveryRow], int]:
    """A page of an endpoint's deliveries, newest first, and how many there are (exact up to `COUNTED_MAX`)."""
    mine = [col(WebhookDeliveryRow.endpoint_id) == endpoint_id]
    if status is not None:
        mine.append(col(WebhookDeliveryRow.status) == status)
    newest = col(WebhookDeliveryRow.created_at).desc(), col(WebhookDeliveryRow.delivery_id).desc()
    rows = session.exec(
        select(WebhookDeliveryRow).where(*mine).order_by(*newest).offset((page - 1) * limit).limit(limit)
    ).all()
    counted = select(WebhookDeliveryRow.delivery_id).where(*mine).limit(COUNTED_MAX).subquery()
    return list(rows), session.exec(select(func.count()).select_from(counted)).one()


def endpoints_to_call(session: Session, now: datetime) -> list[str]:
    """Enabled endpoints to which something is to be sent now."""
    due = exists().where(
        col(WebhookDeliveryRow.endpoint_id) == col(WebhookEndpointRow.endpoint_id),
        col(WebhookDeliveryRow.status) == "pending",
        col(WebhookDeliveryRow.due_at) <= now,
    )
    found = session.exec(select(WebhookEndpointRow.endpoint_id).where(col(WebhookEndpointRow.is_enabled), due))
    return sorted(found.all())


def due_deliveries(
    session: Session, endpoint_id: str, now: datetime, limit: int
) -> list[tuple[WebhookDeliveryRow, str]]:
    """What is to be sent to one endpoint now, longest due first, each with its event."""
    found = session.exec(
        select(WebhookDeliveryRow, OutboxRow.payload)
        .join(
            OutboxRow,
            (col(OutboxRow.account_id) == col(WebhookDeliveryRow.account_id))
            & (col(OutboxRow.outbox_id) == col(WebhookDeliveryRow.event_id)),
        )
        .where(WebhookDeliveryRow.endpoint_id == endpoint_id)
        .where(WebhookDeliveryRow.status == "pending", WebhookDeliveryRow.due_at <= now)
        .order_by(col(WebhookDeliveryRow.due_at), col(WebhookDeliveryRow.delivery_id))
        .limit(limit)
    ).all()
    return [(delivery, payload) for delivery, payload in found]


def lease_delivery(session: Session, row: WebhookDeliveryRow, until: datetime) -> bool:
    """Take a due delivery for this worker alone until then; `False` if another one was faster."""
    return _change(session, row, row.due_at, due_at=until)


def end_attempt(session: Session, row: WebhookDeliveryRow, leased_until: datetime, **values: object) -> bool:
    """Write what came of an attempt, unless the lease ended and the delivery was taken or replayed meanwhile."""
    return _change(session, row, leased_until, **values)


def _change(session: Session, row: WebhookDeliveryRow, was_due_at: datetime, **values: object) -> bool:
    done = session.execute(
        update(WebhookDeliveryRow)
        .where(
            col(WebhookDeliveryRow.account_id) == row.account_id,
            col(WebhookDeliveryRow.delivery_id) == row.delivery_id,
            col(WebhookDeliveryRow.due_at) == was_due_at,
            col(WebhookDeliveryRow.status) == "pending",
        )
        .values(**values)
    )
    assert isinstance(done, CursorResult)
    return bool(done.rowcount == 1)
