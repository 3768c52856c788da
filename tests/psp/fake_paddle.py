"""Paddle's API over HTTP on loopback, stateful, with its refusals and its troubles.

```
with FakePaddle() as fake:
    rail = Paddle(fake.api_key, [fake.webhook_secret], api_base=fake.base_url)
    checkout = rail.start_checkout(…)
    fake.pay(checkout.session_id)             # what customers, banks and Paddle do: `PaddleWorld`, `PaddleBilling`
    fake.deliver("http://127.0.0.1:…/webhooks/paddle")
    fake.fail(503, times=2)                   # trouble with the next requests
```

Objects are held against the SDK's types when they go out; leaving the block raises if one was wrong.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import datetime
from urllib.parse import urlencode

from tests.psp import paddle_billing_doors as doors
from tests.psp.fake_api import FakeApi, Request, post
from tests.psp.paddle_billing import PaddleBilling
from tests.psp.paddle_objects import Json
from tests.psp.paddle_world import PaddleSaysNo, _utc_now

_TRANSACTION_FIELDS = {"items", "currency_code", "custom_data"}
_ADJUSTMENT_FIELDS = {"action", "items", "reason", "transaction_id", "type", "tax_mode"}


class FakePaddle(PaddleBilling, FakeApi):
    """`requests` is what was asked; `base_url` is where."""

    def __init__(self, *, now: Callable[[], datetime] = _utc_now) -> None:
        FakeApi.__init__(self)
        problems = self.problems
        PaddleBilling.__init__(self, now)
        self.problems = problems
        self.api_key = "pdl_sdbx_apikey_fake"
        self.webhook_secret = "pdl_ntfset_fake"
        self.page_size = 30
        self._delivered: set[str] = set()

    def signed(self, event: Json, at: datetime | None = None, *secrets: str) -> tuple[bytes, dict[str, str]]:
        """An event as a webhook: its raw bytes and its headers in lower case."""
        body = json.dumps(event, indent=1, ensure_ascii=False).encode()
        ts = int((at or self.now()).timestamp())
        return body, {
            "content-type": "application/json",
            "paddle-signature": paddle_header(body, ts, *(secrets or (self.webhook_secret,))),
        }

    def deliver(self, url: str, *, again: bool = False) -> list[int]:
        """Post every event not yet answered 2xx, in order (`again`: all of them); the statuses."""
        statuses = []
        for event in [e for e in self.events if again or e["event_id"] not in self._delivered]:
            statuses.append(post(url, *self.signed(event)))
            if 200 <= statuses[-1] < 300:
                self._delivered.add(event["event_id"])
        return statuses

    def handle(self, request: Request) -> tuple[int, Json]:
        meta: Json = {"request_id": "fake"}
        try:
            if request.headers.get("authorization") != f"Bearer {self.api_key}":
                raise PaddleSaysNo(403, "authentication_malformed", "The key is not one of Paddle's.")
            about = doors.asked(self, request)
            if about is not None:
                return 200, {"data": self.told(about), "meta": meta}
            if request.method == "POST":
                return 201, {"data": self.told(self._made_by(request)), "meta": meta}
            return 200, self._told_to(request, meta)
        except PaddleSaysNo as no:
            return no.status, {"error": no.error, "meta": meta}

    def _made_by(self, request: Request) -> Json:
        known = {"/transactions": _TRANSACTION_FIELDS, "/adjustments": _ADJUSTMENT_FIELDS}.get(request.path)
        if known is None:
            raise PaddleSaysNo(404, "invalid_url", request.path)
        strange = set(request.body) - known
        if strange:
            raise PaddleSaysNo(400, "invalid_field", f"Request contains unknown fields: {sorted(strange)}")
        made: Callable[[Json], Json] = (
            self.make_transaction if request.path == "/transactions" else self.make_adjustment
        )
        return made(request.body)

    def _told_to(self, request: Request, meta: Json) -> Json:
        collection, _, object_id = request.path.removeprefix("/").partition("/")
        if collection == "transactions" and object_id:
            found = (
                self.with_adjustments(object_id)
                if request.query.get("include") == "adjustment"
                else self.transaction(object_id)
            )
            return {"data": self.told(found), "meta": meta}
        if collection == "transactions":
            return self._page(doors.listed(self, dict(request.query)), "id", request, meta)
        if collection == "events":
            since = datetime.fromisoformat(request.query.get("from", "2000-01-01T00:00:00Z"))
            rows = [e for e in self.events if datetime.fromisoformat(e["occurred_at"]) >= since]
            return self._page(rows, "event_id", request, meta)
        raise PaddleSaysNo(404, "invalid_url", request.path)

    def _page(self, rows: list[Json], key: str, request: Request, meta: Json) -> Json:
        if request.query.get("order_by") == "id[DESC]":
            rows, after = rows[::-1], ""
        elif request.query.get("order_by") == "id[ASC]":
            after = request.query.get("after", "")
        else:
            raise PaddleSaysNo(400, "bad_request", "This fake pages by id.")
        left = [row for row in rows if row[key] > after]
        page = left[: int(request.query.get("per_page", self.page_size))]
        last = page[-1][key] if page else after
        pagination = {
            "per_page": self.page_size,
            "next": f"{self.base_url}{request.path}?{urlencode({**request.query, 'after': last})}",
            "has_more": len(left) > len(page),
            "estimated_total": len(rows),
        }
        return {"data": [self.told(row) for row in page], "meta": meta | {"pagination": pagination}}


def paddle_header(body: bytes, ts: int, *secrets: str) -> str:
    """`ts=…;h1=…`, with one signature for each secret."""
    signed = f"{ts}:".encode() + body
    hashes = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return f"ts={ts}" + "".join(f";h1={one}" for one in hashes)
