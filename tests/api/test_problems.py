"""Problems and the document that describes them: every refusal, in one form, with nothing of our inside."""

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Request
from litestar.exceptions import InternalServerException
from litestar.testing import TestClient
from structlog.testing import capture_logs

from api.app import RESOURCES
from api.openapi import EXAMPLES, openapi
from api.problems import HUNG_UP, KINDS, problem, respond_to_framework
from api.scope import Answer, Call, Resource
from engine.catalogs import load_catalog
from engine.rules.errors import Refusal, Unavailable
from tests.api.host import Host, assert_problem, new_app


def refusals(kind: type[Refusal] = Refusal) -> Iterator[type[Refusal]]:
    for child in kind.__subclasses__():
        yield child
        yield from refusals(child)


def test_every_refusal_has_a_row_and_an_example() -> None:
    known = set(refusals())
    assert len(known) > 20
    assert KINDS.keys() == known
    assert {type(example) for example in EXAMPLES} == known and len(EXAMPLES) == len(known)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.code)
def test_a_problem_has_the_standard_members_and_its_facts(example: Refusal) -> None:
    body = problem(example, "ACN-")
    assert list(body)[:5] == ["type", "title", "status", "detail", "code"]
    assert body["code"] == f"ACN-{example.code}" and body["detail"] == example.detail
    assert {name: body[name] for name in example.facts} == example.facts
    assert body["status"] == KINDS[type(example)].status


def test_titles_name_one_kind_of_problem_each() -> None:
    titles = [kind.title for kind in KINDS.values()]
    assert len(set(titles)) == len(titles)


def broken(call: Call[None]) -> Answer:
    raise RuntimeError("password=hunter2")


def busy(call: Call[None]) -> Answer:
    raise Unavailable("Not now.")


def test_an_unexpected_error_is_logged_and_says_nothing_of_our_inside(host: Host) -> None:
    app = new_app(
        host.runtime,
        [
            Resource(method="GET", path="/v1/broken", may=None, handler=broken),
            Resource(method="GET", path="/v1/busy", may=None, handler=busy),
        ],
    )
    with TestClient(app, raise_server_exceptions=False) as client, capture_logs() as logs:
        answer = client.get("/v1/broken")
        assert_problem(answer, 500, "INTERNAL")
        assert "hunter2" not in answer.text and "RuntimeError" not in answer.text
        assert [str(entry["exc_info"]) for entry in logs] == ["password=hunter2"]
        late = client.get("/v1/busy")
        assert_problem(late, 503, "UNAVAILABLE")
        assert int(late.headers["retry-after"]) > 0


@pytest.mark.parametrize("catalog", ["acn"])
def test_codes_have_the_catalogues_prefix(host: Host) -> None:
    path = host.open("a")
    assert_problem(host.spend(path, 5), 402, "ACN-CREDIT-001")
    assert_problem(host.get("/v1/nothing"), 404, "ACN-NOT-FOUND")
    batch = host.post("/v1/spends/batch", {"spends": [{"accountId": "a", "amountCredits": "5", "idempotencyKey": "k"}]})
    assert batch.json()["results"][0]["code"] == "ACN-CREDIT-001"


def test_the_document_describes_every_path_with_its_refusals(host: Host) -> None:
    document: dict[str, Any] = host.client.get("/schema").json()
    assert document["openapi"].startswith("3.1")
    for path in ("/v1/billing/spends", "/v1/accounts/{accountId}/spends"):
        spend = document["paths"][path]["post"]
        body = document["components"]["schemas"]["SpendBody"]
        assert body["additionalProperties"] is False and "amountCredits" in body["required"]
        examples = spend["responses"]["402"]["content"]["application/problem+json"]["examples"]
        assert examples["CREDIT-001"]["value"]["shortfallCredits"] == "1"
        assert {"400", "401", "403", "404", "422", "503", "201"} <= spend["responses"].keys()
    names = {p["name"] for p in document["paths"]["/v1/billing/transactions"]["get"]["parameters"]}
    assert names == {"page", "limit", "type", "from", "to", "cursor"}
    ids = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(ids) == len(set(ids))


def test_the_documents_references_all_lead_somewhere() -> None:
    document = openapi(RESOURCES, load_catalog("ecolink"))
    text = json.dumps(document)
    components = document["components"]
    assert isinstance(components, dict)
    references = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert references and references <= components["schemas"].keys()
    assert "\\\\A" not in text and "\\\\Z" not in text


def test_health_says_whether_the_process_lives_and_can_serve(host: Host) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        answer = host.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": status})
        assert host.client.head(path).status_code == 200
    with host.runtime.db.writer.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE wallets RENAME TO purses")
    try:
        assert_problem(host.client.get("/readyz"), 503, "UNAVAILABLE")
        assert host.client.get("/healthz").status_code == 200
    finally:
        with host.runtime.db.writer.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE purses RENAME TO wallets")


def test_a_body_whose_sender_left_is_nobodys_bug() -> None:
    assert f'raise InternalServerException("{HUNG_UP}")' in inspect.getsource(Request.stream), "it has another name"
    with capture_logs() as logs:
        answer = respond_to_framework(InternalServerException(HUNG_UP), "")
    assert (answer.status_code, logs) == (400, [])
