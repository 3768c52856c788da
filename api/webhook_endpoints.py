"""Webhook endpoints of the operator: where events are sent, with which secret, and what became of each."""

import asyncio
from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from api.body import Body, PageQuery
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from api.webhook_sender import addresses_of
from engine.flows import webhooks
from engine.rules.errors import Invalid, NotFound
from engine.rules.outgoing import EventType
from engine.rules.webhooks import check_addresses, target_of
from engine.store import endpoints
from engine.store.database import reading
from engine.store.tables import WebhookDeliveryRow, WebhookEndpointRow

Events = Annotated[tuple[EventType, ...], Meta(min_length=1, max_length=50)] | Literal["all"]
Url = Annotated[str, Meta(min_length=1, max_length=2_000)]
Words = Annotated[str, Meta(max_length=200, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]
Status = Literal["pending", "delivered", "failed"]
LOOK_UP_SECONDS_MAX = 5


class EndpointBody(Body, frozen=True, kw_only=True):
    """An https URL of a public host, and the events it is sent."""

    url: Url
    events: Events = "all"
    description: Words = ""


class EndpointChange(Body, frozen=True, kw_only=True):
    """Fields left out stay as they are."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Words | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class EndpointView(View, frozen=True, kw_only=True):
    """`failedAt`: when a delivery last failed for good, until the endpoint is enabled anew."""

    id: str
    url: str
    description: str
    events: tuple[str, ...] | Literal["all"]
    enabled: bool
    disabled_reason: str | None
    failed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class NewEndpoint(EndpointView, frozen=True, kw_only=True):
    """An endpoint with its secret, which is shown here only."""

    secret: str


class EndpointsAnswer(View, frozen=True, kw_only=True):
    """Newest first."""

    webhook_endpoints: tuple[EndpointView, ...]
    pagination: Pagination


class DeliveriesQuery(PageQuery, frozen=True, kw_only=True):
    status: Status | None = None


class DeliveryView(View, frozen=True, kw_only=True):
    """One event on its way to one endpoint. `nextAttemptAt` is null once it was delivered or has failed."""

    id: str
    event_id: str
    event_type: str
    account_id: str
    status: str
    attempts: int
    last_response_code: int | None
    last_problem: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class DeliveriesAnswer(View, frozen=True, kw_only=True):
    """Newest first."""

    deliveries: tuple[DeliveryView, ...]
    pagination: Pagination


class ReplayBody(Body, frozen=True, kw_only=True):
    since: Annotated[datetime, Meta(tz=True)]


class ReplayAnswer(View, frozen=True, kw_only=True):
    """How many events are on their way again."""

    replayed: int


async def post_endpoint(call: Call[EndpointBody]) -> Answer:
    """Add an endpoint."""
    ask = call.ask
    await _check_url(call, ask.url)
    row, secret = await asyncio.to_thread(
        webhooks.add_endpoint, call.runtime, ask.url, _named(ask.events), ask.description, call.actor
    )
    return Answer(NewEndpoint(secret=secret, **_members(row)))


def list_endpoints(call: Call[PageQuery]) -> Answer:
    """A page of the endpoints."""
    ask = call.ask
    with reading(call.runtime.db) as session:
        rows = endpoints.all_endpoints(session)
    shown = rows[(ask.page - 1) * ask.limit : ask.page * ask.limit]
    views = tuple(EndpointView(**_members(row)) for row in shown)
    pagination = Pagination(page=ask.page, limit=ask.limit, total=len(rows))
    return Answer(EndpointsAnswer(webhook_endpoints=views, pagination=pagination))


def get_endpoint(call: Call[None]) -> Answer:
    return Answer(EndpointView(**_members(_found(call))))


async def put_endpoint(call: Call[EndpointChange]) -> Answer:
    """Change an endpoint."""
    ask = call.ask
    changes: dict[str, object] = {}
    if ask.url is not UNSET:
        await _check_url(call, ask.url)
        changes["url"] = ask.url
    if ask.events is not UNSET:
        changes["events"] = endpoints.events_text(_named(ask.events))
    if ask.description is not UNSET:
        changes["description"] = ask.description
    if ask.enabled is not UNSET:
        changes["is_enabled"] = ask.enabled
    row = await asyncio.to_thread(webhooks.change_endpoint, call.runtime, call.path["endpoint_id"], call.actor, changes)
    return Answer(EndpointView(**_members(row)))


def delete_endpoint(call: Call[None]) -> Answer:
    webhooks.remove_endpoint(call.runtime, call.path["endpoint_id"], call.actor)
    return Answer(None)


def post_rotation(call: Call[None]) -> Answer:
    """A new secret; both sign for a day."""
    row, secret = webhooks.rotate_secret(call.runtime, call.path["endpoint_id"], call.actor)
    return Answer(NewEndpoint(secret=secret, **_members(row)))


def list_deliveries(call: Call[DeliveriesQuery]) -> Answer:
    """A page of what was sent to an endpoint."""
    ask = call.ask
    row = _found(call)
    with reading(call.runtime.db) as session:
        rows, total = endpoints.deliveries_page(session, row.endpoint_id, ask.status, ask.page, ask.limit)
    pagination = Pagination(page=ask.page, limit=ask.limit, total=total)
    return Answer(DeliveriesAnswer(deliveries=tuple(map(_delivery, rows)), pagination=pagination))


def post_delivery_replay(call: Call[None]) -> Answer:
    return Answer(_delivery(webhooks.replay_delivery(call.runtime, call.path["endpoint_id"], call.path["delivery_id"])))


def post_replay(call: Call[ReplayBody]) -> Answer:
    """Send again what happened since an instant."""
    return Answer(ReplayAnswer(replayed=webhooks.replay_since(call.runtime, call.path["endpoint_id"], call.ask.since)))


async def _check_url(call: Call[Any], url: str) -> None:
    """Refuse a URL that no webhook will be sent to. A name that is not known yet may become known."""
    target = target_of(url)
    allows_loopback = call.site.settings.allows_webhooks_to_loopback
    if target.scheme == "http" and not allows_loopback:
        raise Invalid("url", "A webhook URL starts with https://.")
    try:
        async with asyncio.timeout(LOOK_UP_SECONDS_MAX):
            addresses = await addresses_of(target.host, target.port)
    except TimeoutError:
        addresses = ()
    if addresses:
        check_addresses(target, addresses, allows_loopback=allows_loopback)
    elif target.scheme == "http" or "." not in target.host:
        raise Invalid("url", "The host's name stands for no address.")


def _named(events: "tuple[EventType, ...] | Literal['all']") -> tuple[str, ...]:
    return () if events == "all" else tuple(dict.fromkeys(events))


def _found(call: Call[Any]) -> WebhookEndpointRow:
    with reading(call.runtime.db) as session:
        row = endpoints.get_endpoint(session, call.path["endpoint_id"])
    if row is None:
        raise NotFound("webhook endpoint")
    return row


def _members(row: WebhookEndpointRow) -> dict[str, Any]:
    return {
        "id": row.endpoint_id,
        "url": row.url,
        "description": row.description,
        "events": endpoints.events_of(row) or "all",
        "enabled": row.is_enabled,
        "disabled_reason": row.disabled_reason,
        "failed_at": row.failed_at,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _delivery(row: WebhookDeliveryRow) -> DeliveryView:
    return DeliveryView(
        id=row.delivery_id,
        event_id=row.event_id,
        event_type=row.event_type,
        account_id=row.account_id,
        status=row.status,
        attempts=row.attempts,
        last_response_code=row.response_code,
        last_problem=row.problem,
        next_attempt_at=row.due_at if row.status == "pending" else None,
        created_at=row.created_at,
        ended_at=row.ended_at,
    )


ONE = "/v1/webhook-endpoints/{endpoint_id:str}"
RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/webhook-endpoints",
        may="admin",
        handler=post_endpoint,
        asks=EndpointBody,
        answers=NewEndpoint,
        status=201,
        summary="Add an endpoint for outgoing events; its secret is shown in this answer only.",
    ),
    Resource(
        method="GET",
        path="/v1/webhook-endpoints",
        may="admin",
        handler=list_endpoints,
        asks=PageQuery,
        answers=EndpointsAnswer,
        summary="Where outgoing events are sent.",
    ),
    Resource(
        method="GET",
        path=ONE,
        may="admin",
        handler=get_endpoint,
        answers=EndpointView,
        summary="One endpoint.",
    ),
    Resource(
        method="PUT",
        path=ONE,
        may="admin",
        handler=put_endpoint,
        asks=EndpointChange,
        answers=EndpointView,
        summary="Change an endpoint: fields that are named.",
    ),
    Resource(
        method="DELETE",
        path=ONE,
        may="admin",
        handler=delete_endpoint,
        status=204,
        summary="Delete an endpoint and its deliveries.",
    ),
    Resource(
        method="POST",
        path=f"{ONE}/rotate-secret",
        may="admin",
        handler=post_rotation,
        answers=NewEndpoint,
        summary="Give an endpoint a new secret; the old one signs too for 24 hours.",
    ),
    Resource(
        method="GET",
        path=f"{ONE}/deliveries",
        may="admin",
        handler=list_deliveries,
        asks=DeliveriesQuery,
        answers=DeliveriesAnswer,
        summary="What was sent to an endpoint, newest first.",
    ),
    Resource(
        method="POST",
        path=f"{ONE}/deliveries/{{delivery_id:str}}/replay",
        may="admin",
        handler=post_delivery_replay,
        answers=DeliveryView,
        summary="Send one event to an endpoint again.",
    ),
    Resource(
        method="POST",
        path=f"{ONE}/replay",
        may="admin",
        handler=post_replay,
        asks=ReplayBody,
        answers=ReplayAnswer,
        summary="Send every event since an instant to an endpoint again.",
    ),
)
