"""Stripe's own list of events: what its webhooks should have brought, read since a cursor with an overlap."""

import json
from datetime import datetime, timedelta

import stripe

from engine.payments import Event, Polled
from psp.stripe_asking import asking
from psp.stripe_events import POLLED

OVERLAP = timedelta(hours=1)
FIRST_LOOK = timedelta(days=3)
"""How far back the first poll goes: as long as Stripe itself tries to deliver."""

TYPES_MAX = 20
"""Stripe takes no more types in one request."""

KEPT = timedelta(days=29)
"""Stripe keeps events for thirty days."""


def poll(client: stripe.StripeClient, cursor: str | None, now: datetime) -> Polled:
    """Every event of a type that is followed, oldest first. The cursor is the newest event's second.

    Stripe lists the newest first, so the place moves on only when all of it was read.
    """
    since = datetime.fromtimestamp(int(cursor), now.tzinfo) - OVERLAP if cursor is not None else now - FIRST_LOOK
    since = max(since, now - KEPT)
    listed = []
    for start in range(0, len(POLLED), TYPES_MAX):
        types = list(POLLED[start : start + TYPES_MAX])
        with asking():
            page = client.v1.events.list({"created": {"gte": int(since.timestamp())}, "types": types, "limit": 100})
            listed += [event.to_dict() for event in page.auto_paging_iter()]
    listed.reverse()
    listed.sort(key=lambda told: int(told["created"]))
    events = tuple(
        Event(
            told["id"],
            told["type"],
            json.dumps(told, default=str).encode(),
            datetime.fromtimestamp(told["created"], now.tzinfo),
        )
        for told in listed
    )
    newest = max((told["created"] for told in listed), default=None)
    at = int(cursor) if cursor is not None else int(since.timestamp())
    return Polled(events, str(max(at, newest or at)))
