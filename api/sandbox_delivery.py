"""The sandbox provider's webhooks: signed, posted over HTTP, tried again until somebody answers 2xx.

One thread does all of it, so webhooks that were sent together are first tried in the order they were sent. Each try
is signed afresh, because a signature ages. What is not delivered when the process ends is lost; a provider's own
objects can be fetched at any time.
"""

import heapq
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import httpx
import msgspec
import structlog

from engine.clock import monotonic, real_now
from psp.sandbox_wire import SIGNATURE_HEADER, Webhook, sign

FIRST_RETRY_SECONDS = 0.5
LAST_RETRY_SECONDS = 60.0
TRIES_MAX = 20
"""Back-off doubles from half a second to a minute: a receiver may be away for a quarter of an hour."""

log = structlog.get_logger()


@dataclass(order=True)
class _Due:
    at: float
    turn: int
    work: Callable[[], None] = field(compare=False)


class Deliveries:
    """The post room: `send` webhooks, or do something `later`. `stop` ends the thread; nothing is sent after it."""

    def __init__(self, url: str, secret: str, timeout_seconds: float = 10) -> None:
        self._url = url
        self._secret = secret
        self._client = httpx.Client(timeout=timeout_seconds, trust_env=False, follow_redirects=False)
        self._queue: list[_Due] = []
        self._turns = itertools.count()
        self._wake = threading.Condition()
        self._is_stopped = False
        self._unanswered: set[Future[None]] = set()
        self._thread = threading.Thread(target=self._run, name="sandbox-deliveries", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; whoever still waits for an acknowledgement hears now that there will be none."""
        with self._wake:
            self._is_stopped = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        for future in tuple(self._unanswered):
            future.cancel()
        self._client.close()

    def send(self, events: Sequence[Webhook]) -> "Future[None]":
        """Post the webhooks in order; the future is done once each was acknowledged (or given up)."""
        future: Future[None] = Future()
        batch = _Batch(len(events), future)
        if not events:
            future.set_result(None)
            return future
        with self._wake:
            self._unanswered.add(future)
        future.add_done_callback(self._unanswered.discard)
        for event in events:
            self.later(0, self._try_of(event, batch, 1))
        return future

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        """Do this on the post room's thread, `seconds` of wall time from now."""
        with self._wake:
            heapq.heappush(self._queue, _Due(monotonic() + seconds, next(self._turns), work))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._is_stopped and (not self._queue or self._queue[0].at > monotonic()):
                    self._wake.wait(self._queue[0].at - monotonic() if self._queue else None)
                if self._is_stopped:
                    return
                due = heapq.heappop(self._queue)
            try:
                due.work()
            except Exception:
                log.exception("sandbox_work_failed")

    def _try_of(self, event: Webhook, batch: "_Batch", tries: int) -> Callable[[], None]:
        def work() -> None:
            if self._post(event):
                batch.one_done()
            elif tries == TRIES_MAX:
                log.error("sandbox_webhook_given_up", event_id=event.id, type=event.type)
                batch.one_done()
            else:
                wait = min(FIRST_RETRY_SECONDS * 2 ** (tries - 1), LAST_RETRY_SECONDS)
                self.later(wait, self._try_of(event, batch, tries + 1))

        return work

    def _post(self, event: Webhook) -> bool:
        """Whether somebody acknowledged it."""
        body = msgspec.json.encode(event)
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: sign(self._secret, body, real_now())}
        try:
            answer = self._client.post(self._url, content=body, headers=headers)
        except httpx.RequestError as error:
            log.warning("sandbox_webhook_unanswered", event_id=event.id, type=event.type, problem=repr(error))
            return False
        if not answer.is_success:
            log.warning("sandbox_webhook_refused", event_id=event.id, type=event.type, status=answer.status_code)
        return answer.is_success


@dataclass(slots=True)
class _Batch:
    """Webhooks that were sent together: counted down on the post room's thread alone."""

    left: int
    future: "Future[None]"

    def one_done(self) -> None:
        self.left -= 1
        if self.left == 0 and self.future.set_running_or_notify_cancel():
            self.future.set_result(None)
