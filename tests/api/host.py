"""A whole Purser behind HTTP, and a host's backend that calls it with its service key."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, cast

from httpx import Response
from litestar import Litestar
from litestar.testing import TestClient

from api.app import create_app
from api.auth import create_key
from api.scope import Resource, Site
from api.settings import read_settings
from engine.catalogs import load_catalog
from engine.clock import Clock
from engine.flows import months
from engine.group_commit import in_threads
from engine.runtime import Runtime, Secrets, chain_terms
from engine.store.credentials import KeyRole
from engine.store.database import Database
from tests.engine.support import FakeClock

SECRET = "a secret of the tests and longer than 32"
BASE_URL = "http://testserver.local"


@dataclass
class Host:
    """The host's backend. `post` makes an idempotency key of its own unless it is told one, or `key=None`."""

    client: "TestClient[Litestar]"
    runtime: Runtime
    site: Site
    clock: FakeClock
    service_key: str
    numbers: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def get(self, path: str, bearer: str | None = None, **query: Any) -> Response:
        return self.client.get(path, params=query, headers=self._headers(bearer))

    def post(
        self, path: str, body: object = None, *, key: str | None = "", bearer: str | None = None, **headers: str
    ) -> Response:
        shown = self._headers(bearer) | {name.replace("_", "-"): value for name, value in headers.items()}
        if key is not None:
            shown["Idempotency-Key"] = key or f"test-{next(self.numbers)}"
        return self.client.post(path, json={} if body is None else body, headers=shown)

    def post_raw(self, path: str, raw: bytes, content_type: str = "application/json") -> Response:
        headers = self._headers(None) | {"Content-Type": content_type, "Idempotency-Key": "raw"}
        return self.client.post(path, content=raw, headers=headers)

    def open(self, account_id: str, plan: str | None = None) -> str:
        """An account without credits on a plan of the host's, or as the catalogue starts one; its path."""
        body = {"accountId": account_id, "email": "mira@customer.example"}
        answer = self.post("/v1/accounts", body | ({"plan": plan} if plan else {}))
        assert answer.status_code == 201, answer.text
        return f"/v1/accounts/{account_id}"

    def grant(self, path: str, bucket: str, credits: int, until: datetime | None = None, **more: object) -> str:
        """Grant credits; the lot's id."""
        body: dict[str, object] = {"bucket": bucket, "amountCredits": str(credits), "source": "promo"}
        if until is not None:
            body["expiresAt"] = until.isoformat()
        answer = self.post(f"{path}/grants", body | more)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["lotId"])

    def spend(self, path: str, credits: int | str, **more: object) -> Response:
        return self.post(f"{path}/spends", {"amountCredits": str(credits)} | more)

    def balance(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.get(f"{path}/balance", **query)
        assert answer.status_code == 200, answer.text
        return cast(dict[str, Any], answer.json())

    def buckets(self, path: str, **query: Any) -> dict[str, int]:
        """Available credits by bucket."""
        found = self.balance(path, **query)["buckets"]
        return {bucket["bucket"]: int(bucket["availableCredits"]) for bucket in found}

    def new_key(self, role: KeyRole, account_id: str | None = None, name: str = "Kim") -> str:
        return create_key(self.runtime, role, name, account_id)

    def wait(self, **span: float) -> datetime:
        """Let time pass."""
        return self.clock.advance(timedelta(**span))

    def _headers(self, bearer: str | None) -> dict[str, str]:
        return {"Authorization": f"Bearer {bearer or self.service_key}"}


@dataclass
class ClockOf(Clock):
    """The engine's clock, moved by a test's."""

    clock: FakeClock

    def now(self) -> datetime:
        return self.clock.now()


def new_runtime(db: Database, clock: FakeClock, catalog: str, base_url: str = BASE_URL) -> Runtime:
    """A runtime without providers; its group must be closed."""
    loaded = load_catalog(catalog)
    secrets = Secrets((SECRET,))
    terms = chain_terms(loaded, secrets)
    engine_clock = ClockOf(clock)
    runtime = Runtime(
        db=db,
        catalog=loaded,
        secrets=secrets,
        terms=terms,
        clock=engine_clock,
        group=in_threads(db, terms, engine_clock.now),
        providers={},
        base_url=base_url,
        return_origins=(base_url,),
    )
    turns_months(runtime)
    return runtime


def turns_months(runtime: Runtime) -> None:
    """Let commands wait for months that are due, as a server does."""
    runtime.group.turn_months_by(partial(months.turn, runtime))


def new_app(
    runtime: Runtime, extra: Sequence[Resource[Any]] = (), environ: Mapping[str, str] | None = None
) -> Litestar:
    settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": runtime.base_url, **(environ or {})})
    return create_app(runtime, settings, extra)


def assert_problem(answer: Response, status: int, code: str, **facts: object) -> dict[str, Any]:
    """The answer is this problem, in the form of RFC 9457; its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = cast(dict[str, Any], answer.json())
    assert (body["status"], body["code"]) == (status, code), body
    assert body["type"].startswith("urn:purser:problem:") and body["title"] and body["detail"]
    assert {name: body.get(name) for name in facts} == facts
    return body
