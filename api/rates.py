"""Rate limits: how often one credential may ask and one address may fail, and the headers that tell of it.

They protect the server, not a secret: keys and tokens have 160 bits and more, so nobody guesses one. Each process
counts for itself, and several processes together allow that many times as much. Where guessing pays (coupon codes) a
counter in the database decides instead (`engine/flows/coupons.py`).
"""

import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from api.plain import AnyRequest
from engine.clock import monotonic
from engine.rules.errors import RateLimited

WINDOW_SECONDS = 60
REMEMBERED_MAX = 20_000
SCOPE_KEY = "purser.rate"
"""Where a request's scope keeps the headers for its answer (`api/front.py` adds them)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """So many requests in any minute, all at once or spread."""

    name: str
    quota: int


@dataclass(frozen=True, slots=True)
class RateSettings:
    """Quotas for each minute; `None` is no limit. `proxies`: how many of our own stand before this server."""

    accounts: int | None = 1_200
    services: int | None = None
    failures: int | None = 60
    proxies: int = 0


@dataclass(frozen=True, slots=True)
class Room:
    """What is left of a policy: `wait_seconds` is 0 if this request was within it."""

    policy: Policy
    remaining: int
    full_in_seconds: int
    wait_seconds: int

    @property
    def headers(self) -> dict[str, str]:
        """`RateLimit-Policy` and `RateLimit` as the IETF's draft has them."""
        name = self.policy.name
        return {
            "ratelimit-policy": f'"{name}";q={self.policy.quota};w={WINDOW_SECONDS}',
            "ratelimit": f'"{name}";r={self.remaining};t={self.full_in_seconds}',
        }


class Buckets:
    """One bucket for each name: it holds a minute's quota and fills evenly. The longest unused is forgotten first."""

    def __init__(self, policy: Policy, tick: Callable[[], float] = monotonic) -> None:
        self._policy = policy
        self._tick = tick
        self._step = WINDOW_SECONDS / policy.quota
        self._full_at: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, name: str) -> Room:
        """Take one from the bucket if it holds one."""
        with self._lock:
            now = self._tick()
            full_at = max(self._full_at.get(name, now), now)
            wait = full_at + self._step - now - WINDOW_SECONDS
            if wait <= 1e-6:
                full_at += self._step
                self._full_at[name] = full_at
                self._full_at.move_to_end(name)
                if len(self._full_at) > REMEMBERED_MAX:
                    self._full_at.popitem(last=False)
        remaining = max(0, int((WINDOW_SECONDS - (full_at - now)) / self._step + 1e-6))
        return Room(self._policy, remaining, math.ceil(full_at - now), math.ceil(wait) if wait > 1e-6 else 0)

    def give_back(self, name: str) -> None:
        """Undo one `take`."""
        with self._lock:
            if name in self._full_at:
                self._full_at[name] -= self._step


class Rates:
    """The limits of one process."""

    def __init__(self, settings: RateSettings, tick: Callable[[], float] = monotonic) -> None:
        self._proxies = settings.proxies
        self._accounts = _buckets("account", settings.accounts, tick)
        self._services = _buckets("service", settings.services, tick)
        self._failures = _buckets("failures", settings.failures, tick)

    def count(self, request: AnyRequest, credential_id: str, *, is_host: bool) -> None:
        """Count a request of this credential and note its answer's headers; `RateLimited` if it is one too many."""
        buckets = self._services if is_host else self._accounts
        if buckets is not None:
            _pass(request, buckets.take(credential_id))

    def count_try(self, request: AnyRequest) -> None:
        """Count a try with a secret that is not known yet; `RateLimited` if this address has failed too often."""
        if self._failures is not None:
            room = self._failures.take(address_of(request, self._proxies))
            if room.wait_seconds:
                _pass(request, room, "keys or tokens that are not valid here")

    def forgive_try(self, request: AnyRequest) -> None:
        """The secret was right: the try does not count."""
        if self._failures is not None:
            self._failures.give_back(address_of(request, self._proxies))


def _buckets(name: str, quota: int | None, tick: Callable[[], float]) -> Buckets | None:
    return None if quota is None else Buckets(Policy(name, quota), tick)


def _pass(request: AnyRequest, room: Room, what: str = "requests") -> None:
    cast(dict[str, Any], request.scope)[SCOPE_KEY] = room.headers
    if room.wait_seconds:
        raise RateLimited(room.wait_seconds, what)


def address_of(request: AnyRequest, proxies: int) -> str:
    """Whom a request comes from: the peer, or what the outermost of our own proxies saw; IPv6 by its network.

    What stands further left in `X-Forwarded-For` was written by the client and is not believed.
    """
    client = cast(dict[str, Any], request.scope).get("client")
    address = str(client[0]) if client else "unknown"
    if proxies:
        seen = ",".join(request.headers.getall("x-forwarded-for", [])).split(",")
        if len(seen) >= proxies and seen[-proxies].strip():
            address = seen[-proxies].strip()[:64]
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
