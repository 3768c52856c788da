"""Money that waits for a person: quarantined, unclaimed, or come for a closed wallet; decided once."""

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
    assert item["problem"] == "paid 1500 USD, agreed 2000 USD" and item["accountEmail"] == "mira@customer.example"
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
    assert_problem(desk.resolve("review", made, "credit"), 400, "INVALID", field="action")
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


def test_an_unclaimed_payment_is_bound_to_one_account(host: Host, path: str, desk: Desk) -> None:
    payment = desk.unclaimed("txn_store_1")
    assert desk.unclaimed("txn_store_1") == payment
    (item,) = desk.queue("unclaimed")
    assert (item["id"], item["kind"], item["accountId"], item["providerReference"], item["amountCredits"]) == (
        payment, "payment", None, "txn_store_1", "1000",
    )  # fmt: skip
    assert_problem(desk.resolve("unclaimed", payment, "bind"), 400, "INVALID", field="accountId")
    assert_problem(desk.resolve("unclaimed", payment, "bind", accountId="nobody"), 404, "NOT-FOUND")
    done = desk.resolve("unclaimed", payment, "bind", accountId="a")
    assert (done.status_code, done.json()["status"], done.json()["accountId"]) == (200, "bound", "a")
    desk.jobs.run_due()
    paid = host.get(f"{path}/payments").json()["payments"][0]
    assert (paid["id"], paid["status"], paid["providerReference"]) == (
        done.json()["purchaseId"], "completed", "txn_store_1",
    )  # fmt: skip
    again = desk.resolve("unclaimed", payment, "bind", accountId="a")
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    host.open("b", plan="pro")
    assert_problem(desk.resolve("unclaimed", payment, "bind", accountId="b"), 409, "REFUND-003")
    assert_problem(desk.resolve("unclaimed", payment, "refund"), 409, "REFUND-003")
    assert (desk.queue("unclaimed"), host.balance(path)["balanceCredits"]) == ([], "1000")
    assert is_clean(host)


def test_a_payment_that_a_purchase_has_is_bound_to_nobody_else(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    payment = desk.unclaimed(f"pi_{purchase}", 2_000, 2_000)
    host.open("b", plan="pro")
    assert_problem(desk.resolve("unclaimed", payment, "bind", accountId="b"), 409, "REFUND-003")
    assert host.balance("/v1/accounts/b")["balanceCredits"] == "0"
    assert host.get("/v1/accounts/b/payments").json()["payments"] == []


def test_many_who_bind_at_once_bind_once(host: Host, path: str, desk: Desk) -> None:
    payment = desk.unclaimed("txn_store_2")
    names = [f"acc{number}" for number in range(4)]
    for name in names:
        host.open(name, plan="pro")
    barrier = threading.Barrier(4)

    def bind(name: str) -> int:
        barrier.wait()
        return desk.resolve("unclaimed", payment, "bind", accountId=name).status_code

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(bind, names)) == [200, 409, 409, 409]
    assert sum(int(host.balance(f"/v1/accounts/{name}")["balanceCredits"]) for name in names) == 1_000


@pytest.mark.parametrize("answer", ["succeeded", "refused", "failed"])
def test_an_unclaimed_payment_is_sent_back_where_the_provider_can(host: Host, desk: Desk, answer: str) -> None:
    payment = desk.unclaimed("txn_store_3")
    desk.provider.can_refund = False
    assert_problem(desk.resolve("unclaimed", payment, "refund"), 409, "REFUND-004")
    desk.provider.can_refund = True
    desk.provider.refund_answer = answer
    assert desk.resolve("unclaimed", payment, "refund").json()["status"] == "refunding"
    desk.jobs.run_due()
    waiting = [item["id"] for item in desk.queue("unclaimed")]
    assert waiting == ([] if answer == "succeeded" else [payment])
    if answer == "succeeded":
        again = desk.resolve("unclaimed", payment, "refund")
        assert (again.json()["status"], again.headers["idempotency-replayed"]) == ("refunded", "true")
    assert desk.acts() == [("support:Sam", "unclaimed.refunding")]


def test_queues_are_read_by_page_newest_first(host: Host, path: str, desk: Desk) -> None:
    ids = []
    for number in range(3):
        host.wait(seconds=1)
        ids.append(desk.unclaimed(f"txn_{number}"))
    assert [item["id"] for item in desk.queue("unclaimed", limit=2)] == ids[:0:-1]
    assert [item["id"] for item in desk.queue("unclaimed", page=2, limit=2)] == ids[:1]
    assert desk.queue("unclaimed", page=9, limit=2) == []
    answer = host.get("/v1/support/queues/unclaimed", bearer=desk.approver, page=2, limit=2).json()
    assert answer["pagination"] == {"page": 2, "limit": 2, "total": 3}
    assert_problem(host.get("/v1/support/queues/lost", bearer=desk.support), 404, "NOT-FOUND")
    assert_problem(desk.resolve("unclaimed", "unc_none", "dismiss"), 404, "NOT-FOUND")
    assert_problem(desk.resolve("quarantined", ids[0], "dismiss"), 404, "NOT-FOUND")


def test_a_key_of_a_decision_names_one_request(host: Host, path: str, desk: Desk) -> None:
    first, second = desk.unclaimed("txn_1"), desk.unclaimed("txn_2")
    body = {"action": "dismiss", "reason": "a test of the store's"}
    for _ in range(2):
        answer = host.post(f"/v1/support/queues/unclaimed/{first}/resolve", body, key="k", bearer=desk.support)
        assert (answer.status_code, answer.json()["status"]) == (200, "dismissed")
    other = host.post(f"/v1/support/queues/unclaimed/{second}/resolve", body, key="k", bearer=desk.support)
    assert_problem(other, 422, "IDEMPOTENCY-002")
    assert [item["id"] for item in desk.queue("unclaimed")] == [second]
