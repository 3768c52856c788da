"""Schemathesis walks the OpenAPI: no answer is a server's error, undocumented, or of another shape than it says."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from litestar.testing import TestClient
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.app import RESOURCES
from api.openapi import openapi
from engine.catalogs import load_catalog
from engine.store.database import open_database
from engine.store.migrations import upgrade
from tests.api.host import Host, new_app, new_runtime
from tests.engine.support import FakeClock

EXAMPLES = 15
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SCHEMA = schemathesis.openapi.from_dict(openapi(RESOURCES, load_catalog("acn")))
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]
TWICE = {f"{one.method} {one.path}" for one in OPERATIONS if one.path.startswith("/v1/billing/")}


def _names() -> list[str]:
    return [f"{one.method.upper()} {one.path}" for one in OPERATIONS]


def test_every_resource_is_walked() -> None:
    assert len(OPERATIONS) == sum(len(resource.paths) for resource in RESOURCES)
    assert len(OPERATIONS) > 120


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with an account `a` that has credits, on SQLite: one for all examples."""
    db = open_database(f"sqlite:///{tmp_path_factory.mktemp('walk') / 'purser.sqlite3'}")
    upgrade(db)
    runtime = new_runtime(db, FakeClock(), "acn")
    app = new_app(runtime)
    with TestClient(app) as client:
        made = Host(client, runtime, app.state["site"], FakeClock(), service_key="")
        made.service_key = made.new_key("service", name="backend")
        path = made.open("a")
        made.grant(path, "recharge", 10**12)
        yield made
    runtime.group.close()
    db.close()


@pytest.fixture(scope="module")
def keys(walked: Host) -> dict[str, str]:
    return {"account": walked.new_key("account", "a"), "admin": walked.new_key("admin")}


@pytest.mark.parametrize("place", range(len(OPERATIONS)), ids=_names())
def test_an_operation_answers_as_documented(walked: Host, keys: dict[str, str], place: int) -> None:
    operation = OPERATIONS[place]
    executed = 0

    @seed(20261121)
    @settings(
        max_examples=EXAMPLES,
        database=None,
        deadline=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(case=_cases(operation), is_ours=st.booleans())
    def walk(case: Any, is_ours: bool) -> None:
        nonlocal executed
        executed += 1
        if is_ours and "accountId" in case.path_parameters:
            case.path_parameters["accountId"] = "a"
        answer = _ask(walked, case, _key_for(operation.path, walked, keys))
        case.validate_response(answer, checks=CHECKS)

    walk()
    assert executed >= (EXAMPLES if operation.path.count("{") else 1)


def _cases(operation: Any) -> Any:
    """What the document allows and, where it forbids anything, what it forbids."""
    good = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    if operation.body or operation.query or operation.headers:
        return good | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    return good


def _ask(walked: Host, case: Any, key: str) -> Any:
    """The case as a request with this key."""
    shown = case.as_transport_kwargs(base_url="http://testserver.local")
    headers = {name: value for name, value in dict(shown["headers"]).items() if name.lower() != "authorization"}
    headers["Authorization"] = f"Bearer {key}"
    given_json, data = shown.get("json"), shown.get("data")
    if given_json is None and data is not None and not isinstance(data, str | bytes):
        given_json, data = data, None
    body: dict[str, Any] = {"content": data} if given_json is None else {"json": given_json}
    return walked.client.request(
        shown["method"], shown["url"], params=shown.get("params"), headers=headers, follow_redirects=False, **body
    )


def _key_for(path: str, walked: Host, keys: dict[str, str]) -> str:
    if path.startswith(("/v1/support", "/v1/admin", "/v1/webhook")):
        return keys["admin"]
    return keys["account"] if path.startswith("/v1/billing/") else walked.service_key
