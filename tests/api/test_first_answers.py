"""A key is answered as it was first, whatever became of its request since."""

import pytest

from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def test_a_reversal_that_went_through_is_told_as_it_began(host: Host, path: str, desk: Desk) -> None:
    url, body = f"/v1/support/purchases/{desk.buy(path, 2_000)}/reversals", {"reason": "asked"}
    first = host.post(url, body, key="k", bearer=desk.support)
    desk.jobs.run_due()
    stand = host.get(f"/v1/support/reversals/{first.json()['reversalId']}", bearer=desk.support).json()
    again = host.post(url, body, key="k", bearer=desk.support)
    assert (first.json()["status"], stand["status"]) == ("refunding", "succeeded")
    assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (202, first.content, "true")


def test_a_refund_that_went_through_is_told_as_it_began(host: Host, path: str, desk: Desk) -> None:
    url, body = f"/v1/support/purchases/{desk.buy(path, 2_000)}/refunds", {"reason": "asked", "amountMinor": 500}
    first = host.post(url, body, key="k", bearer=desk.support)
    desk.jobs.run_due()
    again = host.post(url, body, key="k", bearer=desk.support)
    assert (again.content, again.headers["idempotency-replayed"]) == (first.content, "true")


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_decision_is_made_once_for_its_key(host: Host, path: str, desk: Desk, decision: str) -> None:
    purchase = desk.buy(path, 60_000)
    made = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "asked"}, bearer=desk.support).json()
    url = f"/v1/support/reversals/{made['reversalId']}"
    first = host.post(f"{url}/{decision}", {}, key="k", bearer=desk.approver)
    desk.jobs.run_due()
    again = host.post(f"{url}/{decision}", {}, key="k", bearer=desk.approver)
    assert (first.status_code, again.status_code, again.content) == (202, 202, first.content)
    assert (first.headers.get("idempotency-replayed"), again.headers["idempotency-replayed"]) == (None, "true")
    other = "reject" if decision == "approve" else "approve"
    assert_problem(host.post(f"{url}/{other}", {}, key="k", bearer=desk.approver), 422, "IDEMPOTENCY-002")
    assert_problem(host.post(f"{url}/{decision}", {}, key="l", bearer=desk.approver), 409, "REFUND-003")
    assert host.balance(path)["balanceCredits"] == ("0" if decision == "approve" else "75000")


def test_a_refused_decision_leaves_its_key_free(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 60_000)
    made = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "asked"}, bearer=desk.approver).json()
    url = f"/v1/support/reversals/{made['reversalId']}/approve"
    assert_problem(host.post(url, {}, key="k", bearer=desk.approver), 409, "REFUND-005")
    assert host.post(url, {}, key="k", bearer=desk.admin).status_code == 202


@pytest.mark.parametrize("catalog", ["ecolink"])
def test_a_correction_that_was_approved_is_told_as_it_was_proposed(host: Host, desk: Desk) -> None:
    path = host.open("a")
    limit = host.runtime.catalog.refunds.grant_approval_above
    assert limit is not None
    body = {"bucket": "recharge", "amountCredits": str(limit + 1), "reason": "goodwill"}
    first = host.post("/v1/admin/accounts/a/grants", body, key="k", bearer=desk.admin)
    (item,) = desk.queue("approvals")
    assert desk.resolve("approvals", item["id"], "approve", desk.approver).status_code == 200
    again = host.post("/v1/admin/accounts/a/grants", body, key="k", bearer=desk.admin)
    assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (202, first.content, "true")
    assert host.balance(path)["balanceCredits"] == str(limit + 1)


def test_a_grant_that_was_reviewed_is_told_as_it_was_asked_for(host: Host, path: str, desk: Desk) -> None:
    body = {"bucket": "limited_time", "amountCredits": "50", "source": "survey", "review": True}
    body |= {"expiresAt": "2027-12-01T00:00:00Z"}
    first = host.post(f"{path}/grants", body, key="k")
    (item,) = desk.queue("review")
    assert desk.resolve("review", item["id"], "approve", desk.approver).status_code == 200
    again = host.post(f"{path}/grants", body, key="k")
    assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (202, first.content, "true")
    assert host.balance(path)["balanceCredits"] == "50"
