"""Money that waits for a person: quarantined, or come for a closed wallet; decided once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.audit import audit
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def status(host: Host, path: str) -> str:
    return str(host.get(f"{path}/payments").json()["payments"][0]["status"])


def is_clean(host: Host) -> bool:
    return audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_an_operator_credits_what_the_purchase_says_at_what_was_paid(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000, paid=1_500)
    assert (status(host, path), host.balance(path)["balanceCredits"]) == ("review", "0")
    (item,) = desk.queue("quarantined")
    assert (item["id"], item["kind"], item["amountMinor"], item["amountCredits"]) == (
        purchase, "purchase", 2_000, "2000",
    )  # fmt: skip
    assert item["problem"] == "paid $15.00, agreed $20.00" and item["accountEmail"] == "mira@customer.example"
    assert_problem(desk.resolve("quarantined", purchase, "approve"), 400, "INVALID", field="action")
    done = desk.resolve("quarantined", purchase, "credit")
    assert (done.status_code, done.json()["status"], done.json()["decidedBy"]) == (200, "paid", "support:Sam")
    desk.jobs.run_due()
    paid = host.get(f"{path}/payments").json()["payments"][0]
    assert (paid["status"], paid["amountMinor"], paid["creditsGranted"]) == ("completed", 1_500, "2000")
    assert (host.balance(path)["balanceCredits"], desk.queue("quarantined")) == ("2000", [])
    again = desk.resolve("quarantined", purchase, "credit", desk.admin)
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    assert_problem(desk.resolve("quarantined", purchase, "refund"), 409, "REFUND-003")
    desk.deliver(desk.payment(purchase, 1_500))
    assert host.balance(path)["balanceCredits"] == "2000"
    full = host.post(f"/v1/support/purchases/{purchase}/refunds", {"reason": "x"}, bearer=desk.support).json()
    assert (full["amountMinor"], full["creditsTakenBack"]) == (1_500, "2000")
    assert is_clean(host)


def test_a_quarantined_payment_is_sent_back_without_a_credit(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000, paid=1_500, currency="EUR")
    done = desk.resolve("quarantined", purchase, "refund")
    assert (done.status_code, desk.queue("quarantined")) == (200, [])
    desk.jobs.run_due()
    sent = desk.provider.objects[f"re_{done.json()['reversalId']}"]
    assert (sent.amount.minor, sent.amount.currency) == (1_500, "EUR")
    assert (status(host, path), host.balance(path)["balanceCredits"]) == ("refunded", "0")
    assert host.get(f"{path}/transactions").json()["transactions"] == []
    assert is_clean(host)


def test_a_refund_that_the_provider_refuses_waits_for_a_person_again(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000, paid=1_500)
    desk.provider.refund_answer = "refused"
    desk.resolve("quarantined", purchase, "refund")
    desk.jobs.run_due()
    assert [item["id"] for item in desk.queue("quarantined")] == [purchase]
    assert desk.resolve("quarantined", purchase, "credit").json()["status"] == "paid"
    assert host.balance(path)["balanceCredits"] == "2000"
    assert is_clean(host)


def test_a_dismissed_payment_waits_no_more_and_credits_nothing(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000, paid=1_500)
    assert desk.resolve("quarantined", purchase, "dismiss").json()["status"] == "quarantined"
    desk.deliver(desk.payment(purchase, 1_500))
    assert (desk.queue("quarantined"), host.balance(path)["balanceCredits"]) == ([], "0")
    assert desk.acts() == [("support:Sam", "quarantine.dismiss")]


def test_a_large_payment_is_not_credited_by_support_alone(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 60_000, paid=1)
    assert_problem(desk.resolve("quarantined", purchase, "credit"), 403, "AUTH-002")
    assert desk.resolve("quarantined", purchase, "credit", desk.approver).status_code == 200
    assert host.balance(path)["balanceCredits"] == "75000"


def test_money_for_a_closed_wallet_is_reviewed_and_sent_back(host: Host, path: str, desk: Desk) -> None:
    made = host.post(f"{path}/checkout", {"amountUsdCents": 2_000}).json()["purchaseId"]
    host.post("/v1/admin/accounts/a/close", {"reason": "asked"}, bearer=desk.admin)
    desk.deliver(desk.payment(made, 2_000))
    assert desk.queue("quarantined") == []
    (item,) = desk.queue("review")
    assert (item["id"], item["kind"], item["actions"]) == (made, "purchase", ["credit", "refund", "dismiss"])
    refused = desk.resolve("review", made, "credit")
    assert_problem(refused, 400, "INVALID", field="action")
    assert refused.json()["detail"] == "It can't be credited: WALLET-001: The wallet is closed."
    assert desk.resolve("review", made, "refund").status_code == 200
    desk.jobs.run_due()
    assert (desk.queue("review"), status(host, path), host.balance(path)["balanceCredits"]) == ([], "refunded", "0")
    assert is_clean(host)


def test_two_people_who_decide_at_once_decide_once(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000, paid=1_500)
    barrier = threading.Barrier(4)

    def act(number: int) -> tuple[int, str]:
        barrier.wait()
        answer = desk.resolve("quarantined", purchase, "credit" if number % 2 else "refund", desk.admin)
        return answer.status_code, answer.json().get("action", "")

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(act, range(4)))
    won = {action for code, action in answers if code == 200}
    assert len(won) == 1 and {code for code, _ in answers} == {200, 409}
    desk.jobs.run_due()
    assert host.balance(path)["balanceCredits"] == ("2000" if won == {"credit"} else "0")
    assert is_clean(host)


def test_queues_are_read_by_page_newest_first(host: Host, path: str, desk: Desk) -> None:
    ids = []
    for number in range(3):
        host.wait(seconds=1)
        ids.append(desk.buy(path, 2_000 + number, paid=1))
    assert [item["id"] for item in desk.queue("quarantined", limit=2)] == ids[:0:-1]
    assert [item["id"] for item in desk.queue("quarantined", page=2, limit=2)] == ids[:1]
    assert desk.queue("quarantined", page=9, limit=2) == []
    answer = host.get("/v1/support/queues/quarantined", bearer=desk.approver, page=2, limit=2).json()
    assert answer["pagination"] == {"page": 2, "limit": 2, "total": 3}
    assert_problem(host.get("/v1/support/queues/lost", bearer=desk.support), 404, "NOT-FOUND")
    assert_problem(desk.resolve("unclaimed", "unc_none", "dismiss"), 404, "NOT-FOUND")
    assert_problem(desk.resolve("unclaimed", ids[0], "dismiss"), 404, "NOT-FOUND")


def test_a_key_of_a_decision_names_one_request(host: Host, path: str, desk: Desk) -> None:
    first, second = desk.buy(path, 2_000, paid=1), desk.buy(path, 2_000, paid=2)
    body = {"action": "dismiss", "reason": "a test of the store's"}
    for _ in range(2):
        answer = host.post(f"/v1/support/queues/quarantined/{first}/resolve", body, key="k", bearer=desk.support)
        assert (answer.status_code, answer.json()["status"]) == (200, "quarantined")
    other = host.post(f"/v1/support/queues/quarantined/{second}/resolve", body, key="k", bearer=desk.support)
    assert_problem(other, 422, "IDEMPOTENCY-002")
    assert [item["id"] for item in desk.queue("quarantined")] == [second]
