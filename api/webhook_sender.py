"""Sending outgoing webhooks: signed, to checked addresses only, several at once, in a thread of their own.

The host's name is resolved here, every address it stands for is checked, and the connection goes to one of them,
with the name in `Host` and in TLS: so no second look-up can lead elsewhere. Redirects are not followed, no proxy of
the environment is used, and of a response nothing but its status is read.
"""

import asyncio
import ssl
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable, Sequence

import httpx
import structlog
from standardwebhooks import Webhook

from engine.clock import real_now
from engine.flows.webhooks import Attempt, Result, end_attempt, take_due, to_be_called
from engine.rules.errors import Refusal
from engine.rules.webhooks import Target, check_addresses, target_of
from engine.runtime import Runtime

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
SECONDS_MAX = 15.0
"""A receiver has so long to answer, name look-up and connection included."""

AT_ONCE_MAX = 8
"""So many requests to one endpoint are under way at once."""

IDLE_SECONDS = 1.0
USER_AGENT = "Purser-Webhooks/1"
log = structlog.get_logger()


async def addresses_of(host: str, port: int) -> Sequence[str]:
    """The addresses of a name; none if there is no such name."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=1)
    except OSError:
        return ()
    return tuple(dict.fromkeys(str(each[4][0]) for each in found))


class WebhookSender:
    """Sends what is due. `allows_loopback` is for demos and tests; `tls` for receivers of a private authority."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        allows_loopback: bool = False,
        resolve: Resolve = addresses_of,
        tls: ssl.SSLContext | None = None,
        seconds_max: float = SECONDS_MAX,
    ) -> None:
        self._runtime = runtime
        self._allows_loopback = allows_loopback
        self._resolve = resolve
        self._tls = tls or ssl.create_default_context()
        self._seconds_max = seconds_max
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="webhooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Finish the attempts under way and end the thread."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def send_due(self) -> int:
        """Send what is due now, and wait for what came of it; how many attempts were made."""
        return asyncio.run(self._send_due())

    async def _send_due(self) -> int:
        called = await asyncio.to_thread(to_be_called, self._runtime)
        return sum(await asyncio.gather(*map(self._call, called)))

    def _run(self) -> None:
        asyncio.run(self._call_all())

    async def _call_all(self) -> None:
        """Until the end, one task for each endpoint that has something due: a slow one keeps no other waiting."""
        calling: dict[str, asyncio.Task[int]] = {}
        while not self._ended.is_set():
            try:
                for endpoint_id in await asyncio.to_thread(to_be_called, self._runtime):
                    if endpoint_id not in calling:
                        calling[endpoint_id] = asyncio.create_task(self._call(endpoint_id))
            except Exception:
                log.exception("webhooks failed; trying again")
            await asyncio.to_thread(self._ended.wait, IDLE_SECONDS)
            for endpoint_id in [each for each, task in calling.items() if task.done()]:
                _note_failure(calling.pop(endpoint_id))
        for task in calling.values():
            await asyncio.wait([task])
            _note_failure(task)

    async def _call(self, endpoint_id: str) -> int:
        """Send an endpoint what is due, some at once, until nothing is or the process ends; how many attempts."""
        count = 0
        while not self._ended.is_set():
            attempts = await asyncio.to_thread(take_due, self._runtime, endpoint_id, AT_ONCE_MAX)
            if not attempts:
                break
            results = await asyncio.gather(*map(self._send, attempts))
            for attempt, result in zip(attempts, results, strict=True):
                await asyncio.to_thread(end_attempt, self._runtime, attempt, result)
            count += len(attempts)
        return count

    async def _send(self, attempt: Attempt) -> Result:
        if not attempt.secrets:
            return Result(None, "the secret key that made this endpoint's secret is gone: rotate it")
        try:
            async with asyncio.timeout(self._seconds_max):
                target = target_of(attempt.url)
                addresses = await self._resolve(target.host, target.port)
                check_addresses(target, addresses, allows_loopback=self._allows_loopback)
                code = await self._post(target, addresses[0], attempt)
        except TimeoutError:
            return Result(None, f"no answer within {self._seconds_max:g} seconds")
        except Refusal as refusal:
            return Result(None, refusal.detail)
        except (httpx.HTTPError, ssl.SSLError, OSError) as error:
            return Result(None, f"{type(error).__name__}: {error}"[:300])
        return Result(code, None if 200 <= code < 300 else f"the receiver answered {code}")

    async def _post(self, target: Target, address: str, attempt: Attempt) -> int:
        literal = f"[{address}]" if ":" in address else address
        url = f"{target.scheme}://{literal}:{target.port}{target.path}"
        body = attempt.payload.encode()
        headers = {"host": target.authority, "content-type": "application/json", "user-agent": USER_AGENT}
        headers |= signed_headers(attempt.row.event_id, attempt.payload, attempt.secrets)
        transport = httpx.AsyncHTTPTransport(verify=self._tls, retries=0)
        async with httpx.AsyncClient(
            transport=transport, trust_env=False, follow_redirects=False, timeout=self._seconds_max
        ) as client:
            request = client.build_request(
                "POST", url, content=body, headers=headers, extensions={"sni_hostname": target.host}
            )
            response = await client.send(request, stream=True)
            await response.aclose()
            return response.status_code


def _note_failure(task: "asyncio.Task[int]") -> None:
    """Log what ended a task before its time; its deliveries are due again when their leases end."""
    error = task.exception()
    if error is not None:
        log.error("webhooks failed; trying again", exc_info=error)


def signed_headers(event_id: str, payload: str, secrets: Sequence[bytes]) -> dict[str, str]:
    """The headers of Standard Webhooks: the id stays the same over all attempts, the time is the attempt's."""
    now = real_now()
    signatures = [Webhook(b64encode(secret).decode()).sign(event_id, now, payload) for secret in secrets]
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
