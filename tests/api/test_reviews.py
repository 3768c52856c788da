"""Grants that support looks at first, and corrections that a second person approves: nothing moves before."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.audit import audit
from engine.store.credentials import KeyRole
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem

SURVEY = {
    "bucket": "limited_time", "amountCredits": "50", "source": "survey", "campaign": "autumn", "step": "1",
    "review": True,
}  # fmt: skip
LARGE = {"bucket": "recharge", "amountCredits": "501", "reason": "lost in the move"}


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host, grant_limit=500)


def is_clean(host: Host) -> bool:
    return audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_a_grant_under_review_moves_nothing_until_support_approves(host: Host, path: str, desk: Desk) -> None:
    answer = host.post(f"{path}/grants", SURVEY, key="k")
    told = answer.json()
    assert (answer.status_code, told["status"], told["campaign"], told["step"]) == (
        202,
        "pending_review",
        "autumn",
        "1",
    )
    assert host.balance(path)["balanceCredits"] == "0"
    (item,) = desk.queue("review")
    assert (item["id"], item["kind"], item["amountCredits"], item["source"]) == (
        told["reviewId"], "host_grant", "50", "survey",
    )  # fmt: skip
    assert (item["requestedBy"], item["accountEmail"]) == ("service:backend", "mira@customer.example")
    host.wait(seconds=1)
    done = desk.resolve("review", told["reviewId"], "approve")
    assert (done.status_code, done.json()["status"], done.json()["decidedBy"]) == (200, "approved", "support:Sam")
    (row,) = host.get(f"{path}/transactions").json()["transactions"]
    assert (row["id"], row["type"], row["amountCredits"], row["referenceId"]) == (
        done.json()["transactionId"], "promo_credit", "50", "autumn/1",
    )  # fmt: skip
    assert desk.queue("review") == []
    assert desk.acts() == [("support:Sam", "grant_review.approved"), ("service:backend", "grant_review.proposed")]
    again = host.post(f"{path}/grants", SURVEY, key="k")
    assert (again.status_code, again.json()) == (202, told)
    assert again.headers["idempotency-replayed"] == "true"
    assert is_clean(host)


def test_a_step_belongs_to_what_was_made_for_it_first(host: Host, path: str, desk: Desk) -> None:
    plain = {name: value for name, value in SURVEY.items() if name != "review"}
    first = host.post(f"{path}/grants", SURVEY).json()
    for body in (SURVEY, plain, SURVEY | {"amountCredits": "70"}):
        again = host.post(f"{path}/grants", body)
        assert (again.status_code, again.json()) == (202, first)
    assert desk.resolve("review", first["reviewId"], "reject").json()["status"] == "rejected"
    assert host.post(f"{path}/grants", plain).json()["status"] == "rejected"
    assert host.balance(path)["balanceCredits"] == "0"
    granted = host.post(f"{path}/grants", plain | {"step": "2"}).json()
    again = host.post(f"{path}/grants", SURVEY | {"step": "2"})
    assert (again.status_code, again.json()) == (201, granted)
    assert desk.queue("review") == []


def test_a_step_that_was_approved_answers_its_grant(host: Host, path: str, desk: Desk) -> None:
    """Whoever asks with another key, with review or without; the key that asked for the review has its own answer."""
    asked = host.post(f"{path}/grants", SURVEY, key="k")
    transaction_id = desk.resolve("review", asked.json()["reviewId"], "approve").json()["transactionId"]
    plain = {name: value for name, value in SURVEY.items() if name != "review"}
    for body in (plain, SURVEY, plain | {"amountCredits": "70"}):
        again = host.post(f"{path}/grants", body)
        told = again.json()
        assert (again.status_code, told["transaction"]["id"], told["balanceAfter"]) == (201, transaction_id, "50")
        assert again.headers["idempotency-replayed"] == "true"
    assert host.post(f"{path}/grants", SURVEY, key="k").json() == asked.json()
    assert host.balance(path)["balanceCredits"] == "50" and desk.queue("review") == []
    assert is_clean(host)


def test_one_key_names_one_request_with_or_without_review(host: Host, path: str, desk: Desk) -> None:
    body = {"bucket": "recharge", "amountCredits": "5", "source": "promo"}
    assert host.post(f"{path}/grants", body | {"review": True}, key="k").status_code == 202
    assert_problem(host.post(f"{path}/grants", body, key="k"), 422, "IDEMPOTENCY-002")
    assert host.post(f"{path}/grants", body, key="l").status_code == 201
    assert_problem(host.post(f"{path}/grants", body | {"review": True}, key="l"), 422, "IDEMPOTENCY-002")
    assert_problem(host.post(f"{path}/grants", body | {"review": True}, key=None), 400, "IDEMPOTENCY-001")
    assert host.balance(path)["balanceCredits"] == "5"


def test_what_could_never_be_granted_is_not_kept(host: Host, path: str, desk: Desk) -> None:
    past = SURVEY | {"expiresAt": "2026-11-02T09:30:00Z"}
    assert_problem(host.post(f"{path}/grants", past), 400, "INVALID", field="expiresAt")
    assert_problem(host.post("/v1/accounts/nobody/grants", SURVEY), 404, "NOT-FOUND")
    host.post("/v1/admin/accounts/a/close", {"reason": "x"}, bearer=desk.admin)
    assert_problem(host.post(f"{path}/grants", SURVEY), 403, "WALLET-001")
    assert desk.queue("review") == []


def test_a_step_asked_for_many_times_at_once_is_one_review_and_decided_once(host: Host, path: str, desk: Desk) -> None:
    barrier = threading.Barrier(6)

    def ask(number: int) -> str:
        barrier.wait()
        return str(host.post(f"{path}/grants", SURVEY, key=f"k{number}").json()["reviewId"])

    with ThreadPoolExecutor(6) as pool:
        (review_id,) = set(pool.map(ask, range(6)))

    def decide(number: int) -> tuple[int, str]:
        barrier.wait()
        answer = desk.resolve("review", review_id, "approve" if number % 2 else "reject")
        return answer.status_code, answer.json().get("status", "")

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(decide, range(6)))
    winner = {status for code, status in answers if code == 200}
    assert len(winner) == 1 and {code for code, _ in answers} == {200, 409}
    assert host.balance(path)["balanceCredits"] == ("50" if winner == {"approved"} else "0")


@pytest.mark.parametrize("act", ["grants", "debits"])
def test_a_large_correction_waits_for_a_second_person(host: Host, path: str, desk: Desk, act: str) -> None:
    host.grant(path, "recharge", 600)
    url = f"/v1/admin/accounts/a/{act}"
    assert host.post(url, LARGE | {"amountCredits": "500"}, bearer=desk.admin).status_code == 201
    before = host.balance(path)["balanceCredits"]
    if act == "debits":
        host.grant(path, "recharge", 500)
        before = "600"
    host.wait(seconds=1)
    answer = host.post(url, LARGE, key="k", bearer=desk.admin)
    told = answer.json()
    assert (answer.status_code, told["status"], told["requestedBy"]) == (202, "pending_approval", "admin:Ada")
    assert host.balance(path)["balanceCredits"] == before
    again = host.post(url, LARGE, key="k", bearer=desk.admin)
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (202, told, "true")
    assert_problem(host.post(url, LARGE | {"amountCredits": "5"}, key="k", bearer=desk.admin), 422, "IDEMPOTENCY-002")
    (item,) = desk.queue("approvals")
    assert (item["id"], item["reason"]) == (told["proposalId"], "lost in the move")
    assert_problem(desk.resolve("approvals", item["id"], "approve", desk.admin), 409, "REFUND-005")
    same = host.new_key("approver", name="Ada")
    assert_problem(desk.resolve("approvals", item["id"], "approve", same), 409, "REFUND-005")
    assert_problem(desk.resolve("approvals", item["id"], "approve", desk.support), 403, "AUTH-002")
    assert_problem(desk.resolve("review", item["id"], "approve", desk.approver), 404, "NOT-FOUND")
    host.wait(seconds=1)
    done = desk.resolve("approvals", item["id"], "approve", desk.approver)
    assert (done.status_code, done.json()["decidedBy"]) == (200, "approver:Ben")
    change = 501 if act == "grants" else -501
    row = host.get(f"{path}/transactions").json()["transactions"][0]
    assert (row["id"], row["amountCredits"]) == (done.json()["transactionId"], str(change))
    assert host.balance(path)["balanceCredits"] == str(int(before) + change)
    twice = desk.resolve("approvals", item["id"], "approve", desk.approver)
    assert (twice.json(), twice.headers["idempotency-replayed"]) == (done.json(), "true")
    assert_problem(desk.resolve("approvals", item["id"], "reject", desk.approver), 409, "REFUND-003")
    kind = "admin_grant" if act == "grants" else "admin_debit"
    assert desk.acts()[:2] == [("approver:Ben", f"{kind}.approved"), ("admin:Ada", f"{kind}.proposed")]
    assert is_clean(host)


def test_a_rejected_correction_moves_nothing_and_one_that_cannot_be_waits_on(host: Host, path: str, desk: Desk) -> None:
    url = "/v1/admin/accounts/a/debits"
    body = {"amountCredits": "600", "reason": "granted twice"}
    assert_problem(host.post(url, body, bearer=desk.admin), 402, "CREDIT-001", shortfallCredits="600")
    host.grant(path, "recharge", 600)
    proposal = host.post(url, body, bearer=desk.admin).json()["proposalId"]
    host.spend(path, 1)
    assert_problem(desk.resolve("approvals", proposal, "approve", desk.approver), 402, "CREDIT-001")
    assert [item["id"] for item in desk.queue("approvals")] == [proposal]
    assert desk.resolve("approvals", proposal, "reject", desk.approver).json()["status"] == "rejected"
    assert (desk.queue("approvals"), host.balance(path)["balanceCredits"]) == ([], "599")


@pytest.mark.parametrize("role", ["account", "service", "auditor"])
def test_only_staff_see_and_decide_queues(host: Host, path: str, desk: Desk, role: KeyRole) -> None:
    review = host.post(f"{path}/grants", SURVEY).json()["reviewId"]
    key = host.new_key(role, "a" if role == "account" else None)
    for queue in ("quarantined", "unclaimed", "review", "approvals"):
        assert_problem(host.get(f"/v1/support/queues/{queue}", bearer=key), 403, "AUTH-002")
        assert_problem(desk.resolve(queue, review, "approve", key), 403, "AUTH-002")
    assert host.balance(path)["balanceCredits"] == "0"
