"""`GET /v1/support/accounts/{id}/timeline`: all that happened to an account, in one list."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.body import Body
from api.scope import Answer, Call, Resource
from api.transactions import View
from engine.flows.expiry import settled_wallet
from engine.rules.errors import Invalid, NotFound
from engine.store.database import reading
from engine.store.timeline import READERS, Entry, Place, timeline

Kind = Literal["act", "document", "mail", "purchase", "transaction"]


class TimelineQuery(Body, frozen=True, kw_only=True):
    """With `kind` only entries of that kind."""

    cursor: Annotated[str, Meta(max_length=300)] | None = None
    kind: Kind | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


class TimelineEntry(View, frozen=True, kw_only=True):
    """`title` is a ledger row's type, an act's name, a mail's subject, or words; `id` names the thing itself."""

    at: datetime
    kind: str
    title: str
    id: str
    actor: str | None
    detail: str | None
    purchase_id: str | None
    amount_credits: str | None
    amount_minor: int | None
    currency: str | None
    status: str | None


class TimelineAnswer(View, frozen=True, kw_only=True):
    """Newest first; `nextCursor` leads to the older ones, and is null at the end."""

    timeline: tuple[TimelineEntry, ...]
    next_cursor: str | None


def get_timeline(call: Call[TimelineQuery]) -> Answer:
    ask = call.ask
    before = read_place(ask.cursor) if ask.cursor is not None else None
    wallet = settled_wallet(call.runtime, call.account_id, call.runtime.clock.now())
    with reading(call.runtime.db) as session:
        found, has_more = timeline(session, wallet, before, ask.limit, ask.kind)
    return Answer(
        TimelineAnswer(
            timeline=tuple(map(_entry, found)),
            next_cursor=cursor_of(found[-1].place) if has_more else None,
        )
    )


def _entry(entry: Entry) -> TimelineEntry:
    return TimelineEntry(
        at=entry.place.at,
        kind=entry.place.kind,
        title=entry.title,
        id=entry.id,
        actor=entry.actor,
        detail=entry.detail,
        purchase_id=entry.purchase_id,
        amount_credits=None if entry.credits is None else str(entry.credits),
        amount_minor=entry.amount_minor,
        currency=entry.currency,
        status=entry.status,
    )


def cursor_of(place: Place) -> str:
    """A place as text that goes into a URL."""
    return urlsafe_b64encode(msgspec.json.encode((place.at, place.kind, place.key))).decode().rstrip("=")


def read_place(cursor: str) -> Place:
    """The place a cursor stands for; any text that we did not make is refused."""
    try:
        raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        at, kind, key = msgspec.json.decode(raw, type=tuple[Annotated[datetime, Meta(tz=True)], Kind, str])
        place = Place(at, kind, key)
        is_ours = cursor_of(place) == cursor and (kind != "transaction" or 0 < int(key) < 2**63)
    except (binascii.Error, msgspec.MsgspecError, ValueError) as error:
        raise Invalid("cursor", "This is no cursor of ours.") from error
    if not is_ours or kind not in READERS or "\x00" in key:
        raise Invalid("cursor", "This is no cursor of ours.")
    return place


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="/v1/support/accounts/{account_id:str}/timeline",
        may="support",
        handler=get_timeline,
        asks=TimelineQuery,
        answers=TimelineAnswer,
        refuses=(NotFound,),
        summary="All that happened to an account, newest first.",
    ),
)
