"""A client for the host's backend: ask whether, spend, hold and grant; sync (`Purser`) and async (`AsyncPurser`).

```python
from api.client import Purser

purser = Purser("https://purser.example", service_key)
if purser.allows("acme-1", "custom_credits"): …
purser.spend("acme-1", 800, description="Report", key="report-17")
with purser.hold("acme-1", 5_000) as hold:
    hold.capture(run_the_job())          # what is not captured is given back; an exception gives all of it back
```

Every request that moves credits has an idempotency key, the caller's or one of its own, and is tried again with the
same key when no answer came: it is carried out once. Refusals are typed (see `client_wire`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from litestar.connection import ASGIConnection
from litestar.exceptions import PermissionDeniedException
from litestar.handlers import BaseRouteHandler
from standardwebhooks import Webhook

from api import client_wire as wire
from api.client_wire import (
    Ask,
    Balance,
    Captured,
    Entitlements,
    FeatureNotAllowed,
    Granted,
    Held,
    HoldOver,
    InsufficientCredits,
    KeyReused,
    LimitReached,
    Missing,
    PurserError,
    Reversed,
    Spent,
    Unreachable,
    WalletClosedOrInDebt,
)
from engine.clock import sleep

__all__ = [
    "AsyncPurser",
    "FeatureNotAllowed",
    "HoldOver",
    "InsufficientCredits",
    "KeyReused",
    "LimitReached",
    "Missing",
    "Purser",
    "PurserError",
    "Unreachable",
    "WalletClosedOrInDebt",
    "requires",
    "verify_webhook",
]

T = TypeVar("T")
TIMEOUT_SECONDS = 10.0


class Purser:
    """A service key's view of Purser; one may be shared between threads. `close` ends its connections."""

    def __init__(
        self,
        base_url: str,
        service_key: str,
        *,
        tries: int = wire.TRIES_MAX,
        transport: httpx.BaseTransport | None = None,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._tries = tries
        self._pause = pause
        self._client = httpx.Client(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Bearer {service_key}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def allows(self, account: str, feature: str) -> bool:
        """Whether the account may use a feature now. `Missing` for an account or feature that nobody knows."""
        try:
            self._do(wire.question(account, f"entitlements/{feature}"), dict[str, Any])
        except FeatureNotAllowed:
            return False
        return True

    def entitlements(self, account: str) -> Entitlements:
        return self._do(wire.question(account, "entitlements"), Entitlements)

    def balance(self, account: str) -> Balance:
        return self._do(wire.question(account, "balance"), Balance)

    def spend(self, account: str, credits: int, *, key: str | None = None, **about: Any) -> Spent:  # noqa: ANN401
        """Spend, all or nothing. `about`: description, providerId, capabilityId, callId, metadata and the like."""
        return self._do(wire.command(account, "spends", _amount(credits, about), key), Spent)

    def reverse(
        self, account: str, transaction_id: str, *, credits: int | None = None, key: str | None = None
    ) -> Reversed:
        """Undo a spend, whole or in part."""
        body = {} if credits is None else _amount(credits, {})
        return self._do(wire.command(account, f"spends/{transaction_id}/reversal", body, key), Reversed)

    def grant(
        self,
        account: str,
        bucket: str,
        credits: int,
        source: str,
        *,
        key: str | None = None,
        **about: Any,  # noqa: ANN401
    ) -> Granted:
        """Grant credits. `about`: expiresAt, description, campaign, step, review."""
        body = _amount(credits, {"bucket": bucket, "source": source, **about})
        return self._do(wire.command(account, "grants", body, key), Granted)

    def hold(self, account: str, credits: int, *, key: str | None = None, **about: Any) -> "Hold":  # noqa: ANN401
        """Reserve credits at once; as a context manager, what was not captured at its end is given back."""
        keyed = wire.command(account, "holds", _amount(credits, about), key)
        return Hold(self._do, account, self._do(keyed, Held), keyed.key or "")

    def _do(self, ask: Ask, shape: type[T]) -> T:
        """One request, tried again with the same key while no answer comes or one says 'later'."""
        for tries in range(1, self._tries + 1):
            answer = None
            try:
                answer = self._client.request(ask.method, ask.path, json=ask.body, headers=ask.headers())
            except httpx.TransportError as error:
                if tries == self._tries:
                    raise wire.unanswered(error) from error
            else:
                if not wire.is_later(answer) or tries == self._tries:
                    return wire.read(answer, shape)
            self._pause(wire.wait_seconds(tries, answer))
        raise AssertionError("the last try answers or raises")


class Hold:
    """Reserved credits: capture what was used, void what was not. It ends once."""

    def __init__(self, do: Callable[[Ask, type[Any]], Any], account: str, held: Held, key: str) -> None:
        self._do = do
        self._account = account
        self._key = key
        self.hold_id = held.hold_id
        self.expires_at = held.expires_at
        self.ended: Captured | None = None

    def capture(self, credits: int) -> Captured:
        """Take so many of the held credits; the rest is given back."""
        self.ended = self._do(_end(self._account, self.hold_id, "capture", self._key, credits), Captured)
        return self.ended

    def void(self) -> Captured:
        """Give all of them back."""
        self.ended = self._do(_end(self._account, self.hold_id, "void", self._key, None), Captured)
        return self.ended

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.ended is not None:
            return
        try:
            self.void()
        except PurserError:
            if error is None:
                raise  # with an exception under way, that one is what the caller must see; the hold expires


class AsyncPurser:
    """`Purser` for an event loop."""

    def __init__(
        self,
        base_url: str,
        service_key: str,
        *,
        tries: int = wire.TRIES_MAX,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tries = tries
        self._pause = pause
        self._client = httpx.AsyncClient(
            base_url=base_url.rstrip("/"),
            headers={"Authorization": f"Bearer {service_key}"},
            timeout=TIMEOUT_SECONDS,
            transport=transport,
        )

    async def close(self) -> None:
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check(self, account: str, feature: str) -> None:
        """Nothing if the account may use the feature, else `FeatureNotAllowed` with its facts."""
        await self._do(wire.question(account, f"entitlements/{feature}"), dict[str, Any])

    async def allows(self, account: str, feature: str) -> bool:
        try:
            await self.check(account, feature)
        except FeatureNotAllowed:
            return False
        return True

    async def entitlements(self, account: str) -> Entitlements:
        return await self._do(wire.question(account, "entitlements"), Entitlements)

    async def balance(self, account: str) -> Balance:
        return await self._do(wire.question(account, "balance"), Balance)

    async def spend(self, account: str, credits: int, *, key: str | None = None, **about: Any) -> Spent:  # noqa: ANN401
        return await self._do(wire.command(account, "spends", _amount(credits, about), key), Spent)

    async def reverse(
        self, account: str, transaction_id: str, *, credits: int | None = None, key: str | None = None
    ) -> Reversed:
        body = {} if credits is None else _amount(credits, {})
        return await self._do(wire.command(account, f"spends/{transaction_id}/reversal", body, key), Reversed)

    async def grant(
        self,
        account: str,
        bucket: str,
        credits: int,
        source: str,
        *,
        key: str | None = None,
        **about: Any,  # noqa: ANN401
    ) -> Granted:
        body = _amount(credits, {"bucket": bucket, "source": source, **about})
        return await self._do(wire.command(account, "grants", body, key), Granted)

    def hold(self, account: str, credits: int, *, key: str | None = None, **about: Any) -> "AsyncHold":  # noqa: ANN401
        """Credits reserved for the length of an `async with` block; what was not captured is given back."""
        return AsyncHold(self._do, account, wire.command(account, "holds", _amount(credits, about), key))

    async def _do(self, ask: Ask, shape: type[T]) -> T:
        for tries in range(1, self._tries + 1):
            answer = None
            try:
                answer = await self._client.request(ask.method, ask.path, json=ask.body, headers=ask.headers())
            except httpx.TransportError as error:
                if tries == self._tries:
                    raise wire.unanswered(error) from error
            else:
                if not wire.is_later(answer) or tries == self._tries:
                    return wire.read(answer, shape)
            await self._pause(wire.wait_seconds(tries, answer))
        raise AssertionError("the last try answers or raises")


class AsyncHold:
    """`Hold` for an event loop; it reserves when its block is entered."""

    def __init__(self, do: Callable[[Ask, type[Any]], Awaitable[Any]], account: str, ask: Ask) -> None:
        self._do = do
        self._account = account
        self._ask = ask
        self.hold_id = ""
        self.ended: Captured | None = None

    async def capture(self, credits: int) -> Captured:
        self.ended = await self._do(
            _end(self._account, self.hold_id, "capture", self._ask.key or "", credits), Captured
        )
        return self.ended

    async def void(self) -> Captured:
        self.ended = await self._do(_end(self._account, self.hold_id, "void", self._ask.key or "", None), Captured)
        return self.ended

    async def __aenter__(self) -> Self:
        held: Held = await self._do(self._ask, Held)
        self.hold_id = held.hold_id
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.ended is not None:
            return
        try:
            await self.void()
        except PurserError:
            if error is None:
                raise


def requires(
    feature: str, account_of: Callable[[ASGIConnection[Any, Any, Any, Any]], str]
) -> Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]:
    """A Litestar guard: 403 with the paywall's facts unless the request's account may use the feature.

    `account_of` says whose request it is; the `AsyncPurser` to ask stands at `app.state.purser`.
    """

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:
        purser: AsyncPurser = connection.app.state.purser
        try:
            await purser.check(account_of(connection), feature)
        except FeatureNotAllowed as refused:
            raise PermissionDeniedException(refused.detail, extra=dict(refused.facts)) from refused

    return guard


def verify_webhook(headers: Mapping[str, str], body: bytes, secret: str) -> dict[str, Any]:
    """The event in an outgoing webhook's raw bytes, signed with the endpoint's secret (Standard Webhooks) and of now.

    Raises `standardwebhooks.WebhookVerificationError` for everything else.
    """
    event: dict[str, Any] = Webhook(secret).verify(body, dict(headers))
    return event


def _amount(credits: int, about: Mapping[str, Any]) -> dict[str, Any]:
    return {**about, "amountCredits": str(credits)}


def _end(account: str, hold_id: str, how: str, key: str, credits: int | None) -> Ask:
    body = {} if credits is None else _amount(credits, {})
    return wire.command(account, f"holds/{hold_id}/{how}", body, f"{key}:{how}"[-255:])
