"""What support reads: all that happened to an account in one list, and finding things by their names."""

from typing import Any

import pytest

from engine.store.credentials import KeyRole
from engine.store.database import reading
from engine.store.documents import documents_of
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem

URL = "/v1/support/accounts/a/timeline"


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def read(host: Host, desk: Desk, **query: Any) -> list[dict[str, Any]]:
    """Every page of the timeline, one after the other."""
    entries: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        answer = host.get(URL, bearer=desk.support, **query, **cursor)
        assert answer.status_code == 200, answer.text
        entries += answer.json()["timeline"]
        if answer.json()["nextCursor"] is None:
            return entries
        cursor = {"cursor": answer.json()["nextCursor"]}


def test_one_list_tells_what_happened_and_who_did_it(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    host.wait(minutes=1)
    made = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "by mistake"}, bearer=desk.support)
    host.wait(minutes=1)
    desk.jobs.run_due()
    entries = read(host, desk)
    assert [entry["kind"] for entry in entries if entry["kind"] != "mail"] == [
        "document", "transaction", "act", "transaction", "purchase", "document",
    ]  # fmt: skip
    mails = [entry["title"] for entry in entries if entry["kind"] == "mail"]
    assert any("received" in title for title in mails) and any("refunded" in title for title in mails)
    act = next(entry for entry in entries if entry["kind"] == "act")
    assert (act["title"], act["actor"], act["detail"]) == ("reversal.proposed", "support:Sam", "by mistake")
    note = next(entry for entry in entries if entry["kind"] == "document")
    assert note["title"].startswith("Credit note ALPC26-") and note["purchaseId"] == purchase
    rows = [entry for entry in entries if entry["kind"] == "transaction"]
    assert [(row["title"], row["amountCredits"]) for row in rows] == [("refund", "-2000"), ("deposit", "2000")]
    assert made.json()["purchaseId"] == purchase
    assert read(host, desk, kind="act") == [act]


def test_pages_of_any_size_are_the_same_list_even_within_one_instant(host: Host, path: str, desk: Desk) -> None:
    for _ in range(2):
        purchase = desk.buy(path, 2_000)
        host.spend(path, 5)
        host.post(f"/v1/support/purchases/{purchase}/refunds", {"reason": "x"}, bearer=desk.support)
        desk.jobs.run_due()
    whole = read(host, desk, limit=100)
    assert len(whole) > 15
    for limit in (1, 2, 3, 7):
        assert read(host, desk, limit=limit) == whole


def test_what_is_added_meanwhile_moves_no_page(host: Host, path: str, desk: Desk) -> None:
    desk.buy(path, 2_000)
    whole = read(host, desk, limit=100)
    first = host.get(URL, bearer=desk.support, limit=2).json()
    host.wait(seconds=1)
    host.spend(path, 5)
    rest = host.get(URL, bearer=desk.support, limit=100, cursor=first["nextCursor"]).json()["timeline"]
    assert first["timeline"] + rest == whole


@pytest.mark.parametrize("cursor", ["x", "", "bm8", "WyIyMDI2LTExLTAyVDA5OjMwOjAwWiIsImFjdCIsIngi", "é", "W10="])
def test_a_cursor_that_is_not_ours_is_refused(host: Host, path: str, desk: Desk, cursor: str) -> None:
    assert_problem(host.get(URL, bearer=desk.support, cursor=cursor), 400, "INVALID", field="cursor")


def test_an_account_that_is_not_there(host: Host, desk: Desk) -> None:
    assert_problem(host.get(URL, bearer=desk.support), 404, "NOT-FOUND")


@pytest.mark.parametrize("role", ["account", "service", "auditor"])
def test_only_staff_read_the_timeline(host: Host, path: str, role: KeyRole) -> None:
    key = host.new_key(role, "a" if role == "account" else None)
    assert_problem(host.get(URL, bearer=key), 403, "AUTH-002")


def test_support_finds_things_by_every_name_they_carry(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    reversal = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "x"}, bearer=desk.support).json()
    row = host.get(f"{path}/transactions").json()["transactions"][-1]
    with reading(host.runtime.db) as session:
        receipt = documents_of(session, "a", purchase)[0]
    names = {
        purchase: "purchases", f"cs_{purchase}": "purchases", f"pi_{purchase}": "purchases",
        reversal["reversalId"]: "purchases", row["id"]: "transactions", receipt.number: "receipts",
        "a": "accounts", "MIRA@customer.example": "accounts",
    }  # fmt: skip
    for name, kind in names.items():
        found = host.get("/v1/support/search", bearer=desk.support, q=f" {name} ".ljust(3)).json()
        assert found[kind], name
        assert [each["purchase"]["id"] for each in found["purchases"]] == [purchase], name
    found = host.get("/v1/support/search", bearer=desk.support, q=receipt.number).json()
    assert found["receipts"][0]["receiptId"] == receipt.document_id
    nothing = host.get("/v1/support/search", bearer=desk.support, q="ALPR26-0000099").json()
    assert nothing == {"accounts": [], "purchases": [], "transactions": [], "receipts": []}
