"""Providers' webhooks: the raw bytes are verified, kept and acknowledged; what they mean is worked out afterwards."""

import asyncio
from typing import Any

import structlog
from litestar.response import Response

from api.scope import Answer, Call, Resource
from engine.clock import real_now
from engine.payments import verifies_at_once
from engine.rules.errors import NotFound, WebhookRefused

BODY_BYTES_MAX = 1024 * 1024
log = structlog.get_logger()


async def take_webhook(call: Call[bytes]) -> Answer | Response[Any]:
    """Verify, store, answer. The event's age is measured in real time, whatever the engine's clock says.

    Where verifying may block (a provider's keys may have to be fetched) it has a thread; events that arrive together
    share a commit.
    """
    provider = call.runtime.providers.get(call.path["provider"])
    if provider is None:
        raise NotFound("provider")
    seen: dict[str, str] = {}
    for name, value in call.request.headers.multi_items():
        if name.lower() in seen and name.lower().endswith("signature"):
            raise WebhookRefused("The signature header stands there twice.")
        seen[name.lower()] = value
    if verifies_at_once(provider):
        event = provider.verify(seen, call.ask, real_now())
    else:
        event = await asyncio.to_thread(provider.verify, seen, call.ask, real_now())
    kept = call.runtime.ingest.keep(call.runtime.db, provider.name, event, call.runtime.clock.now())
    if not await asyncio.wrap_future(kept):
        log.info("webhook repeated", provider=provider.name, event_id=event.event_id)
    call.runtime.wake_jobs()
    return Answer({"received": True})


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/webhooks/{provider:str}",
        may=None,
        handler=take_webhook,
        asks=bytes,
        body_bytes_max=BODY_BYTES_MAX,
        refuses=(WebhookRefused, NotFound),
        summary="A payment provider's signed event.",
    ),
)
