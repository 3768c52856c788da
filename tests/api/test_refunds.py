"""Refunds by policy over HTTP: who may, how much, how it ends, and the second person above the limit."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.pages import desk as desk_pages
from api.pages import desk_queues
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Page, Visit, page_route
from api.pages.render import Templates
from engine.store.credentials import KeyRole
from engine.store.database import reading
from engine.store.documents import documents_of
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def refunds(purchase_id: str) -> str:
    return f"/v1/support/purchases/{purchase_id}/refunds"


def test_support_gives_the_unspent_share_back(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    host.spend(path, 1)
    body = {"reason": "not needed"}
    answer = host.post(refunds(purchase), body, key="k", bearer=desk.support)
    told = answer.json()
    assert (answer.status_code, told["status"], told["amountMinor"]) == (202, "refunding", 1_999)
    assert (told["purchaseId"], told["creditsTakenBack"]) == (purchase, "1999")
    assert host.post(refunds(purchase), body, key="k", bearer=desk.support).headers["idempotency-replayed"] == "true"
    assert_problem(
        host.post(refunds(purchase), body | {"amountMinor": 5}, key="k", bearer=desk.support), 422, "IDEMPOTENCY-002"
    )
    desk.jobs.run_due()
    stand = host.get(f"/v1/support/reversals/{told['reversalId']}", bearer=desk.support).json()
    assert stand["status"] == "succeeded"
    assert host.get(f"{path}/payments").json()["payments"][0]["status"] == "partially_refunded"
    with reading(host.runtime.db) as session:
        papers = {row.kind for row in documents_of(session, "a", purchase)}
    assert papers == {"receipt", "credit_note"}
    assert host.balance(path)["balanceCredits"] == "0"
    assert desk.acts() == [("support:Sam", "refund.proposed")]


def test_what_is_refused_and_how(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    host.spend(path, 500)
    url, body = refunds(purchase), {"reason": "asked"}
    assert_problem(host.post(url, body, key=None, bearer=desk.support), 400, "IDEMPOTENCY-001")
    for wrong in ({"amountMinor": 0}, {"amountMinor": -1}, {"amountMinor": "5"}, {"amountMinor": 2_001}):
        assert_problem(host.post(url, body | wrong, bearer=desk.support), 400, "INVALID", field="amountMinor")
    for wrong in ({"reason": " "}, {"reason": ""}):
        assert_problem(host.post(url, wrong, bearer=desk.support), 400, "INVALID", field="reason")
    assert_problem(host.post(url, body | {"amount": 5}, bearer=desk.support), 400, "INVALID", field="amount")
    over = host.post(url, body | {"amountMinor": 1_501}, bearer=desk.support)
    assert_problem(over, 409, "REFUND-004", maxMinor=1_500)
    assert_problem(host.post(refunds("pay_none"), body, bearer=desk.support), 404, "NOT-FOUND")
    assert host.balance(path)["balanceCredits"] == "1500"
    assert host.post(url, body | {"amountMinor": 2_000}, bearer=desk.admin).json()["creditsTakenBack"] == "2000"
    assert host.balance(path)["debtCredits"] == "500"
    assert_problem(host.post(url, body, bearer=desk.admin), 409, "REFUND-003")


@pytest.mark.parametrize("catalog", ["acn"])
def test_the_policy_none_refuses_every_refund(host: Host, desk: Desk) -> None:
    path = host.open("b")
    purchase = desk.buy(path, 1_000)
    answer = host.post(refunds(purchase), {"reason": "x"}, bearer=desk.admin)
    assert_problem(answer, 409, "ACN-REFUND-004")
    assert host.balance(path)["balanceCredits"] == "10000000"


def test_above_the_limit_a_second_person_decides_in_the_queue(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 60_000)
    made = host.post(refunds(purchase), {"reason": "wrong account", "amountMinor": 50_001}, bearer=desk.support)
    assert (made.status_code, made.json()["status"]) == (202, "pending_approval")
    left = host.balance(path)["balanceCredits"]
    (item,) = desk.queue("approvals")
    assert (item["kind"], item["amountMinor"], item["reason"], item["requestedBy"]) == (
        "refund", 50_001, "wrong account", "support:Sam",
    )  # fmt: skip
    assert item["purchaseId"] == purchase and item["actions"] == ["approve", "reject"]
    assert_problem(desk.resolve("approvals", item["id"], "approve"), 403, "AUTH-002")
    assert_problem(desk.resolve("approvals", item["id"], "credit", desk.approver), 400, "INVALID", field="action")
    done = desk.resolve("approvals", item["id"], "approve", desk.approver)
    assert (done.status_code, done.json()["status"], done.json()["reversalId"]) == (200, "refunding", item["id"])
    desk.jobs.run_due()
    twice = desk.resolve("approvals", item["id"], "approve", desk.admin)
    assert (twice.json()["status"], twice.headers["idempotency-replayed"]) == ("succeeded", "true")
    assert_problem(desk.resolve("approvals", item["id"], "reject", desk.admin), 409, "REFUND-003")
    assert (desk.queue("approvals"), host.balance(path)["balanceCredits"]) == ([], left)


def test_nobody_approves_what_was_disputed_since(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 60_000)
    made = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "unwanted"}, bearer=desk.support).json()
    desk.deliver(desk.provider.say("dispute", "dp_1", "open", 60_000, parent=f"pi_{purchase}"))
    url = f"/v1/support/reversals/{made['reversalId']}"
    assert_problem(host.post(f"{url}/approve", key="k", bearer=desk.approver), 409, "REFUND-003")
    assert_problem(desk.resolve("approvals", made["reversalId"], "approve", desk.admin), 409, "REFUND-003")
    desk.jobs.run_due()
    assert [fact.kind for fact in desk.provider.objects.values()] == ["payment", "dispute"]
    assert host.get(url, bearer=desk.support).json()["status"] == "pending_approval"
    assert [item["id"] for item in desk.queue("approvals")] == [made["reversalId"]]
    assert desk.acts() == [("support:Sam", "reversal.proposed")]
    assert host.post(f"{url}/reject", key="k2", bearer=desk.approver).json()["status"] == "rejected"
    desk.deliver(desk.provider.say("dispute", "dp_1", "won", 60_000, parent=f"pi_{purchase}"))
    assert (desk.queue("approvals"), host.balance(path)["balanceCredits"]) == ([], "75000")


@pytest.mark.parametrize(
    ("path_of", "handler", "button"),
    [
        ("/support/reversals/{reversal_id:str}/{decision:str}", desk_pages.decide, "reversals/{}/approve"),
        ("/support/queues/{queue:str}/{item_id:str}/resolve", desk_queues.decide, "queues/approvals/{}/resolve"),
    ],
)
def test_the_desks_buttons_say_why_it_is_not_approved(
    host: Host, path: str, desk: Desk, path_of: str, handler: Callable[[Visit], Any], button: str
) -> None:
    purchase = desk.buy(path, 60_000)
    made = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "unwanted"}, bearer=desk.support).json()
    desk.deliver(desk.provider.say("refund", "re_1", "succeeded", 100, parent=f"pi_{purchase}"))
    templates = Templates(assets := read_assets())
    page = Page(method="POST", path=path_of, reader="staff", may="support", handler=handler)
    routes = [asset_handler(assets), page_route(page, templates)]
    form, staff = {"action": "approve", "reason": "looked into it"}, {"Authorization": f"Bearer {desk.approver}"}
    with TestClient(create_app(host.runtime, host.site.settings, routes)) as client:
        shown = client.post(f"/support/{button.format(made['reversalId'])}", data=form, headers=staff)
    assert shown.status_code == 409
    assert "the purchase was disputed or refunded: it can&#39;t be approved now" in shown.text


@pytest.mark.parametrize("role", ["account", "service", "auditor"])
def test_only_staff_refund(host: Host, path: str, desk: Desk, role: KeyRole) -> None:
    purchase = desk.buy(path, 2_000)
    key = host.new_key(role, "a" if role == "account" else None)
    assert_problem(host.post(refunds(purchase), {"reason": "x"}, bearer=key), 403, "AUTH-002")
    assert host.balance(path)["balanceCredits"] == "2000"


def test_many_who_refund_at_once_give_no_more_than_was_paid(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    barrier = threading.Barrier(6)

    def ask(number: int) -> int:
        barrier.wait()
        body = {"reason": "asked", "amountMinor": 900}
        return host.post(refunds(purchase), body, key=f"k{number}", bearer=desk.admin).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(ask, range(6))) == [202, 202, 409, 409, 409, 409]
    desk.jobs.run_due()
    given = [fact.amount.minor for fact in desk.provider.objects.values() if fact.kind == "refund"]
    assert (given, host.balance(path)["balanceCredits"]) == ([900, 900], "200")
