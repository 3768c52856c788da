"""Attacks by asking at once: one purchase taken back by many, taken back while it is spent, and one limit for many."""

from concurrent.futures import ThreadPoolExecutor

from tests.api.desk import Desk
from tests.api.host import Host, assert_problem
from tests.attacks.test_money import PARALLEL, check_books


def reverse(desk: Desk, purchase: str, number: int) -> int:
    path = f"/v1/support/purchases/{purchase}/reversals"
    return desk.host.post(path, {"reason": "asked"}, bearer=desk.support, key=f"r{number}").status_code


def test_one_purchase_reversed_by_many_at_once_gives_the_money_back_once(desk: Desk) -> None:
    path = desk.host.open("a", "pro")
    before = desk.host.buckets(path)
    purchase = desk.buy(path, 2_000)
    with ThreadPoolExecutor(PARALLEL) as pool:
        codes = sorted(pool.map(lambda number: reverse(desk, purchase, number), range(PARALLEL)))
    assert codes == [202] + [409] * (PARALLEL - 1)
    assert desk.host.buckets(path) == before
    rows = desk.host.get(f"{path}/transactions", type="refund", limit=100).json()["transactions"]
    assert [row["amountCredits"] for row in rows] == ["-2000"]
    check_books(desk.host)


def test_what_is_spent_and_reversed_at_once_is_one_of_both(desk: Desk) -> None:
    """Whoever comes first wins; never are the credits spent and the money back."""
    host = desk.host
    for number in range(4):
        path = host.open(f"a{number}", "pro")
        purchase = desk.buy(path, 2_000)
        everything = int(host.balance(path)["balanceCredits"])
        with ThreadPoolExecutor(2) as pool:
            spent = pool.submit(host.spend, path, everything)
            reversed_ = pool.submit(reverse, desk, purchase, number)
            codes = (spent.result().status_code, reversed_.result())
        assert codes in ((201, 409), (402, 202)), codes
        balance = host.balance(path)
        assert balance["debtCredits"] == "0"
        assert int(balance["balanceCredits"]) == (0 if codes[0] == 201 else everything - 2_000)
    check_books(host)


def test_a_days_limit_holds_however_many_spend_at_once(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 10_000)
    headers = {"Authorization": f"Bearer {host.service_key}"}
    limit = {"dailySpendLimitCredits": "100", "perCallLimitCredits": "60"}
    assert host.client.put(f"{path}/limits", json=limit, headers=headers).status_code == 200
    with ThreadPoolExecutor(PARALLEL) as pool:
        codes = sorted(pool.map(lambda number: host.spend(path, 30).status_code, range(PARALLEL)))
    assert codes == [201] * 3 + [402] * (PARALLEL - 3)
    assert_problem(host.spend(path, 61), 402, "CREDIT-002", limitType="per_call")
    assert host.spend(path, 10).status_code == 201
    assert_problem(host.spend(path, 1), 402, "CREDIT-002", limitType="daily")
    check_books(host)


def test_one_key_for_many_spends_at_once_is_one_spend(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 1_000)
    before = int(host.balance(path)["balanceCredits"])
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(
            pool.map(lambda _: host.post(f"{path}/spends", {"amountCredits": "30"}, key="one"), range(PARALLEL))
        )
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["transaction"]["id"] for answer in answers}) == 1
    assert int(host.balance(path)["balanceCredits"]) == before - 30
    other = host.post(f"{path}/spends", {"amountCredits": "31"}, key="one")
    assert_problem(other, 422, "IDEMPOTENCY-002")
    check_books(host)
