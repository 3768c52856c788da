"""Paddle's own list of events: what its webhooks should have brought, read since a cursor with an overlap."""

from datetime import datetime, timedelta, timezone

from engine.payments import Event, Polled
from psp.paddle_events import is_followed, is_id
from psp.paddle_wire import PaddleWire

OVERLAP = timedelta(hours=1)
FIRST_LOOK = timedelta(days=3)
"""How far back the first poll goes: as long as Paddle itself tries to deliver."""

KEPT = timedelta(days=89)
"""Paddle keeps events for ninety days."""

_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


def poll(wire: PaddleWire, cursor: str | None, now: datetime) -> Polled:
    """Every event of a kind that is followed, oldest first. The cursor is when the newest one occurred.

    Paddle tells events of every kind, whatever an endpoint is subscribed to; one that is not followed is no loss.
    """
    read_until = datetime.fromisoformat(cursor) if cursor is not None else None
    since = max(read_until - OVERLAP if read_until is not None else now - FIRST_LOOK, now - KEPT)
    events = []
    newest = read_until or since
    for told, raw in wire.events({"from": since.astimezone(timezone.utc).strftime(_TIME), "order_by": "id[ASC]"}):
        if not is_id(told.get("event_id")) or not isinstance(told.get("event_type"), str):
            continue
        at = datetime.fromisoformat(told["occurred_at"])
        newest = max(newest, at)
        if is_followed(told["event_type"]):
            events.append(Event(told["event_id"], told["event_type"], raw, at))
    return Polled(tuple(events), newest.astimezone(timezone.utc).strftime(_TIME))
