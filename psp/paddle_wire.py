"""How Paddle is spoken to: the SDK's client, one for each request, its answers as plain JSON and its errors as ours.

The SDK keeps the request's id and its last answer on the client, so a client is never shared between threads. Its
entities refuse what they do not know (a null type, a new list), so answers are read as they came.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

import requests
from paddle_billing import Client, Options
from paddle_billing.Environment import Environment
from paddle_billing.Operation import Operation

from engine.payments import ProviderRefused, ProviderUnreachable

Json = dict[str, Any]

LIVE_HOST = "api.paddle.com"
TEST_HOST = "sandbox-api.paddle.com"
PAGES_MAX = 1_000

_LATER = frozenset({401, 403, 408, 409, 425, 429})
_QUIET = logging.getLogger("purser.paddle")
_QUIET.disabled = True
"""The SDK writes whole answers, customers and all, to the log it is given."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Stands in for the SDK's two environments, so that another server can be named."""

    base_url: str


class PaddleWire:
    """One account's way to Paddle; may be shared between threads."""

    def __init__(self, api_key: str, api_base: str | None, timeout_seconds: float) -> None:
        """Raises `ValueError` for a key that belongs to the other mode than the address."""
        host = urlsplit(api_base).hostname if api_base else None
        is_live_key = api_key.startswith("pdl_live_")
        if not api_key.strip():
            raise ValueError("The Paddle key is blank.")
        if (is_live_key and host == TEST_HOST) or (api_key.startswith("pdl_sdbx_") and host == LIVE_HOST):
            raise ValueError("The Paddle key is of one mode and PURSER_PADDLE_API_BASE of the other.")
        self.is_live = is_live_key or host == LIVE_HOST
        self._key = api_key
        self._base = (api_base or f"https://{LIVE_HOST if self.is_live else TEST_HOST}").rstrip("/")
        self._timeout_seconds = timeout_seconds

    def get(self, path: str, given: Mapping[str, str]) -> Json:
        """One object."""
        return _object(self._answer("GET", path, given))

    def make(self, path: str, operation: Operation) -> Json:
        """The object that a POST made. Paddle knows no idempotency key: no answer means that it may be there."""
        return _object(self._answer("POST", path, {}, operation))

    def change(self, path: str, operation: Operation) -> Json:
        """The object that a PATCH changed, or would change."""
        return _object(self._answer("PATCH", path, {}, operation))

    def first(self, path: str, given: Mapping[str, str]) -> list[Json]:
        """The first page of a list."""
        return _listed(self._answer("GET", path, given))

    def every(self, path: str, given: Mapping[str, str]) -> Iterator[Json]:
        """All objects of a list, page by page."""
        asked = dict(given)
        for _ in range(PAGES_MAX):
            told = self._answer("GET", path, asked)
            yield from _listed(told)
            pagination = (told.get("meta") or {}).get("pagination") or {}
            if not pagination.get("has_more") or not told["data"]:
                return
            asked |= dict(parse_qsl(urlsplit(str(pagination.get("next"))).query))
        raise ProviderUnreachable(f"Paddle's list {path} has no end.")

    def events(self, given: Mapping[str, str]) -> Iterator[tuple[Json, bytes]]:
        """All events of the list, each with the bytes it would be kept as."""
        for event in self.every("/events", given):
            yield event, json.dumps(event, ensure_ascii=False).encode()

    def _answer(self, method: str, path: str, given: Mapping[str, str], operation: Operation | None = None) -> Json:
        place = cast(Environment, _Place(self._base))
        client = Client(
            self._key,
            options=Options(place),
            logger=_QUIET,
            retry_count=1,
            timeout=self._timeout_seconds,
        )
        with closing(client.client), _asking():
            if method == "GET":
                response = client.get_raw(path, dict(given))
            elif method == "PATCH":
                response = client.patch_raw(path, operation)
            else:
                response = client.post_raw(path, operation)
            told = response.json()
        if not isinstance(told, dict):
            raise ProviderUnreachable("Paddle's answer is not an object.")
        return told


def _object(told: Json) -> Json:
    found = told.get("data")
    if not isinstance(found, dict):
        raise ProviderUnreachable("Paddle's answer holds no object.")
    return found


def _listed(told: Json) -> list[Json]:
    if not isinstance(told.get("data"), list):
        raise ProviderUnreachable("Paddle's answer is not a list.")
    return [one for one in told["data"] if isinstance(one, dict)]


@contextmanager
def _asking() -> Iterator[None]:
    """Paddle's errors as ours, around one request.

    For good is only what says no to this very request: a key that is wrong or may not do this (401, 403) is the
    operator's to mend. The SDK trips over error bodies that are not Paddle's (a proxy's page): that is no answer.
    """
    try:
        yield
    except requests.RequestException as error:
        status = error.response.status_code if error.response is not None else 0
        code = getattr(error, "error_code", None)
        if code is not None and 400 <= status < 500 and status not in _LATER:
            raise ProviderRefused(code, str(getattr(error, "detail", ""))) from error
        raise ProviderUnreachable(f"Paddle, HTTP {status or 'none'}: {code or type(error).__name__}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ProviderUnreachable(f"Paddle's answer can't be read: {type(error).__name__}") from error
