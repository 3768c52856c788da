"""Stripe's API over HTTP on loopback, stateful, with its idempotency, its refusals and its troubles.

```
with FakeStripe() as fake:
    rail = Stripe(fake.secret_key, [fake.webhook_secret], api_base=fake.base_url)
    checkout = rail.start_checkout(…)
    fake.pay(checkout.session_id)             # what customers, banks and the dashboard do: `StripeWorld`
    fake.deliver("http://127.0.0.1:…/webhooks/stripe")
    fake.fail(503, times=2)                   # trouble with the next requests
```

Parameters are held against the SDK's types when they come in and objects when they go out; leaving the block
raises if an object of the fake's own was wrong.
"""

import contextlib
import hashlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import stripe
import stripe.params as params
import stripe.params.checkout as checkout_params
import stripe.params.radar as radar_params

from tests.psp import stripe_billing_doors as billing
from tests.psp.stripe_billing import StripeBilling
from tests.psp.stripe_contract import read_params
from tests.psp.stripe_objects import Json
from tests.psp.stripe_wallets import CardWorld
from tests.psp.stripe_world import StripeSaysNo, _utc_now

_KINDS: dict[str, tuple[str, type]] = {
    "checkout/sessions": ("checkout.session", checkout_params.SessionRetrieveParams),
    "payment_intents": ("payment_intent", params.PaymentIntentRetrieveParams),
    "charges": ("charge", params.ChargeRetrieveParams),
    "refunds": ("refund", params.RefundRetrieveParams),
    "disputes": ("dispute", params.DisputeRetrieveParams),
    "radar/early_fraud_warnings": ("radar.early_fraud_warning", radar_params.EarlyFraudWarningRetrieveParams),
} | billing.KINDS
_LISTS: dict[str, type] = {
    "checkout/sessions": checkout_params.SessionListParams,
    "refunds": params.RefundListParams,
} | billing.LISTS


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it arrived; `given` are its parameters, nested as Stripe reads them."""

    method: str
    path: str
    given: Json
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class _Trouble:
    status: int | None
    is_executed: bool
    code: str | None
    hang_seconds: float


class FakeStripe(CardWorld, StripeBilling):
    """`requests` is what was asked; `base_url` is where."""

    def __init__(
        self,
        *,
        secret_key: str = "sk_test_fake",
        webhook_secret: str = "whsec_fake",
        now: Callable[[], datetime] = _utc_now,
        livemode: bool = False,
    ) -> None:
        super().__init__(now, livemode)
        self.secret_key = secret_key
        self.webhook_secret = webhook_secret
        self.requests: list[Request] = []
        self.page_size_max = 100
        self._troubles: list[_Trouble] = []
        self._answers: dict[str, tuple[str, int, Json]] = {}
        self._delivered: set[str] = set()
        self._stopping = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if kind is None and self.problems:
            raise AssertionError("The fake is not like Stripe:\n" + "\n".join(sorted(set(self.problems))))

    def fail(self, status: int, *, times: int = 1, executed: bool = False, code: str | None = None) -> None:
        """The next requests end in this status; `executed` ones take effect first, and Stripe keeps the answer."""
        self._troubles += [_Trouble(status, executed, code, 0)] * times

    def drop(self, *, times: int = 1, executed: bool = False) -> None:
        """The next requests get no answer: the connection is closed."""
        self._troubles += [_Trouble(None, executed, None, 0)] * times

    def hang(self, seconds: float, *, times: int = 1) -> None:
        """The next requests take effect and are answered this late."""
        self._troubles += [_Trouble(None, True, None, seconds)] * times

    def forget_keys(self) -> None:
        """A day later: idempotency keys are pruned."""
        self._answers.clear()

    def signed(
        self, event: Json, at: datetime | None = None, secret: str | None = None
    ) -> tuple[bytes, dict[str, str]]:
        """An event as a webhook: its raw bytes, and its headers in lower case."""
        body = json.dumps(event, indent=2, ensure_ascii=False)
        header = stripe.WebhookSignature.generate_signature_header(
            body, secret or self.webhook_secret, int((at or self.now()).timestamp())
        )
        headers = {"content-type": "application/json; charset=utf-8", "stripe-signature": header}
        return body.encode(), headers

    def deliver(self, url: str) -> list[int]:
        """Post every event that was not yet answered 2xx, in order, and answer the statuses."""
        statuses = []
        for event in [e for e in self.events if e["id"] not in self._delivered]:
            body, headers = self.signed(event)
            request = urllib.request.Request(url, data=body, headers=headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=30) as response:
                    statuses.append(int(response.status))
            except urllib.error.HTTPError as error:
                with error:
                    statuses.append(error.code)
            if 200 <= statuses[-1] < 300:
                self._delivered.add(event["id"])
        return statuses

    def answer(self, request: Request, key: str) -> tuple[int, Json, dict[str, str]] | None:
        """Status, body and further headers for a request; `None` closes the connection."""
        with self.lock:
            self.requests.append(request)
            trouble = self._troubles.pop(0) if self._troubles else None
            if trouble is not None and not trouble.is_executed:
                return None if trouble.status is None else _refusal(trouble.status, trouble.code)
            status, body, headers = self._remembered(request, key)
            if trouble is not None and trouble.status is not None:
                status, body, headers = _refusal(trouble.status, trouble.code)
                self._remember(request, status, body)
        if trouble is not None and trouble.hang_seconds:
            self._stopping.wait(trouble.hang_seconds)
        elif trouble is not None and trouble.status is None:
            return None
        return status, body, headers

    def _remembered(self, request: Request, key: str) -> tuple[int, Json, dict[str, str]]:
        """The answer, or the first answer again for an idempotency key that was used before."""
        known = self._answers.get(request.idempotency_key or "") if request.method == "POST" else None
        if known is not None:
            fingerprint, status, body = known
            if fingerprint != _fingerprint(request):
                message = "Keys for idempotent requests can only be used with the same parameters."
                return 400, {"error": {"type": "idempotency_error", "message": message}}, {}
            return status, body, {"Idempotent-Replayed": "true"}
        try:
            if key != self.secret_key:
                raise StripeSaysNo(401, None, "Invalid API Key provided")
            body = self._executed(request)
        except StripeSaysNo as no:
            if no.status == 402:  # the bank was asked: the same key is told the same no
                self._remember(request, no.status, {"error": no.error})
            return no.status, {"error": no.error}, {}
        self._remember(request, 200, body)
        return 200, body, {}

    def _remember(self, request: Request, status: int, body: Json) -> None:
        if request.method == "POST" and request.idempotency_key:
            self._answers[request.idempotency_key] = (_fingerprint(request), status, body)

    def _executed(self, request: Request) -> Json:
        about_cards = self.executed_for_cards(request.method, request.path, request.given)
        if about_cards is not None:
            return self._expanded(about_cards, request.given.get("expand", []) if request.method == "POST" else [])
        collection, object_id = _route(request.path)
        if request.method == "POST" and object_id is None and collection in ("checkout/sessions", "refunds"):
            if collection == "refunds":
                return self.told(self.make_refund(_read(params.RefundCreateParams, request.given)))
            given = _read(checkout_params.SessionCreateParams, request.given)
            return self.told(self.make_session(given, self.base_url))
        parent, _, parent_id = collection.rpartition("/")
        if request.method == "POST" and (parent, object_id) == ("checkout/sessions", "expire"):
            _read(checkout_params.SessionExpireParams, request.given)
            self.expire(parent_id)
            return self.told(self.get(parent_id, "checkout.session"))
        if request.method == "POST":
            made = billing.posted(self, collection, object_id, lambda kind: _read(kind, request.given))
            if made is not None:
                return self.told(made)
        if request.method == "GET" and object_id is not None and collection in _KINDS:
            kind, retrieve = _KINDS[collection]
            given = _read(retrieve, request.given)
            return self.told(self._expanded(self.get(object_id, kind), given.get("expand", [])))
        if request.method == "GET" and collection in _LISTS:
            return self._listed(collection, _read(_LISTS[collection], request.given))
        raise StripeSaysNo(404, None, f"Unrecognized request URL ({request.method}: {request.path}).")

    def _listed(self, collection: str, given: Json) -> Json:
        fields = {k: v for k, v in given.items() if k in ("payment_intent", "charge")}
        is_billing = collection in billing.LISTS
        found = billing.found(self, collection, given) if is_billing else self.every(_KINDS[collection][0], **fields)
        if "starting_after" in given:
            ids = [item["id"] for item in found]
            found = found[ids.index(given["starting_after"]) + 1 :]
        size = min(given.get("limit", 10), self.page_size_max)
        inner = [path.removeprefix("data.") for path in given.get("expand", [])]
        data = [self.told(self._expanded(item, inner)) for item in found[:size]]
        return {"object": "list", "url": f"/v1/{collection}", "has_more": len(found) > size, "data": data}

    def _expanded(self, stripe_object: Json, paths: list[str]) -> Json:
        """A copy with the ids at these paths replaced by the objects they name."""
        expanded = dict(stripe_object)
        for path in paths:
            first, _, rest = path.partition(".")
            if (expanded["object"], path) == ("invoice", "payments"):
                data = self.payments_of(expanded["id"])
                expanded["payments"] = {
                    "object": "list",
                    "data": data,
                    "has_more": False,
                    "url": "/v1/invoice_payments",
                }
                continue
            if first not in expanded:
                raise StripeSaysNo(400, None, f"This property cannot be expanded ({path}).")
            value = expanded[first]
            inner = self._objects[value] if isinstance(value, str) else value
            expanded[first] = self._expanded(inner, [rest] if rest else []) if inner else inner
        return expanded


def _handler(fake: FakeStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._serve(urlsplit(self.path).query)

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            self._serve(self.rfile.read(length).decode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return format_datetime(fake.now(), usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

        def _serve(self, form: str) -> None:
            path = urlsplit(self.path).path
            request = Request(self.command, path, parse_form(form), self.headers.get("idempotency-key"))
            key = self.headers.get("authorization", "").removeprefix("Bearer ")
            answered = fake.answer(request, key)
            if answered is None:
                return
            status, told, further = answered
            body = json.dumps(told).encode()
            self.send_response(status)
            for name, value in (further | {"Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            with contextlib.suppress(ConnectionError):  # who waited has hung up
                self.end_headers()
                self.wfile.write(body)

    return Handler


def parse_form(form: str) -> Json:
    """`a[b][0][c]=1` as Stripe reads it: `{"a": {"b": [{"c": "1"}]}}`."""
    tree: Json = {}
    for name, value in parse_qsl(form, keep_blank_values=True):
        *outer, last = name.replace("]", "").split("[")
        node = tree
        for part in outer:
            node = node.setdefault(part, {})
        node[last] = value
    return {name: _with_lists(value) for name, value in tree.items()}


def _with_lists(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if node and all(name.isdigit() for name in node):
        return [_with_lists(node[name]) for name in sorted(node, key=int)]
    return {name: _with_lists(value) for name, value in node.items()}


def _read(params_type: type, given: Json) -> Json:
    try:
        return read_params(params_type, given)
    except ValueError as error:
        raise StripeSaysNo(400, "parameter_unknown", str(error)) from error


def _route(path: str) -> tuple[str, str | None]:
    """`/v1/checkout/sessions/cs_1` → `("checkout/sessions", "cs_1")`; a collection alone has no id."""
    parts = path.removeprefix("/v1/").strip("/")
    if parts in _KINDS:
        return parts, None
    collection, _, object_id = parts.rpartition("/")
    return collection, object_id


def _fingerprint(request: Request) -> str:
    told = json.dumps([request.method, request.path, request.given], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()


def _refusal(status: int, code: str | None) -> tuple[int, Json, dict[str, str]]:
    kind = "api_error" if status >= 500 else "invalid_request_error"
    return status, {"error": {"type": kind, "code": code, "message": f"Trouble: HTTP {status}."}}, {}
