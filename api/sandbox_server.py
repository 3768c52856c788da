"""The sandbox provider as it runs: its books, its keys, its post room, and waiting until a webhook has had its effect.

Its work has threads of its own. A button's handler waits for Purser to hear of it, and Purser, hearing, asks this
provider for the object: if both drew from the same few threads, they could wait for each other.
"""

import asyncio
import hmac
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from sqlmodel import Session

from api.sandbox_cards import keep_events
from api.sandbox_delivery import Deliveries
from api.sandbox_sessions import expire_over, late_sessions
from api.sandbox_subscriptions import arrive_late
from engine.clock import Clock
from engine.runtime import Secrets
from engine.store.database import Database, reading, transact
from psp.sandbox_wire import Webhook

LATE_SECONDS = 10.0
"""Wall time between `pay-late` and the webhook that says the payment arrived (SPEC §13)."""

PATIENCE_SECONDS = 5.0
"""The longest a button waits for its webhooks to be acknowledged and what follows from them to be done."""

T = TypeVar("T")


def sandbox_keys(secrets: Secrets) -> tuple[str, str]:
    """The sandbox's API key and webhook secret, both made from the operator's first secret key."""
    return secrets.signing("sandbox api").hex(), secrets.signing("sandbox webhook").hex()


class SandboxServer:
    """One per demo. `settled` returns once everything is done that the webhooks so far gave rise to.

    `start` it when the server that takes its webhooks is up; `stop` it before the database closes.
    """

    def __init__(
        self,
        db: Database,
        clock: Clock,
        secrets: Secrets,
        base_url: str,
        settled: Callable[[], object],
        late_seconds: float = LATE_SECONDS,
    ) -> None:
        api_key, webhook_secret = sandbox_keys(secrets)
        self.base_url = base_url
        self._api_key = api_key
        self._db = db
        self._clock = clock
        self._settled = settled
        self._late_seconds = late_seconds
        self._deliveries = Deliveries(f"{base_url}/webhooks/sandbox", webhook_secret)
        self._books = ThreadPoolExecutor(4, "sandbox-books")
        self._waiting = ThreadPoolExecutor(4, "sandbox-waiting")

    def start(self) -> None:
        """Open the post room; late payments that an earlier run left on their way arrive a while from now."""
        self._deliveries.start()
        with reading(self._db) as session:
            late = late_sessions(session)
        for session_id in late:
            self.confirm_later(session_id)

    def stop(self) -> None:
        self._deliveries.stop()
        self._waiting.shutdown(cancel_futures=True)
        self._books.shutdown(cancel_futures=True)

    def is_key(self, given: str) -> bool:
        """Whether this `Authorization` header carries the API key."""
        return hmac.compare_digest(given.encode(), f"Bearer {self._api_key}".encode())

    def now(self) -> datetime:
        return self._clock.now()

    async def keep(self, work: Callable[[Session, datetime], T]) -> T:
        """Run `work(session, now)` in one transaction on the books, away from the event loop."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._books, lambda: self._keep(work))

    def send(self, events: Sequence[Webhook]) -> "Future[None]":
        """Send the webhooks; nobody need wait for them."""
        return self._deliveries.send(events)

    async def announce(self, events: Sequence[Webhook]) -> None:
        """Send the webhooks and wait, for a while, until they were acknowledged and have had their effect."""
        delivered = asyncio.wrap_future(self.send(events))
        with suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await asyncio.shield(delivered)
                await asyncio.get_running_loop().run_in_executor(self._waiting, self._settled)

    def confirm_later(self, session_id: str) -> None:
        """Let a late payment arrive after its delay, by the wall's clock."""

        def arrive() -> None:
            self._deliveries.send(self._keep(lambda session, now: arrive_late(session, session_id, now)))

        self._deliveries.later(self._late_seconds, arrive)

    def expire_over(self) -> None:
        """Expire sessions that are past their end, after the clock was moved; their webhooks are on their way."""
        self._deliveries.send(self._keep(expire_over))

    def _keep(self, work: Callable[[Session, datetime], T]) -> T:
        def told(session: Session) -> T:
            now = self._clock.now()
            made = work(session, now)
            keep_events(session, made, now)
            return made

        return transact(self._db, told)
