"""Attacks on money: spending twice, odd numbers, split amounts, other currencies, keeping what was refunded."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from engine.audit import audit
from tests.api.desk import Desk
from tests.api.host import Host, assert_problem
from tests.stores.shop import Shop

PARALLEL = 12


def check_books(host: Host) -> None:
    report = audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain"))
    assert report.wallets > 0 and not report.findings, report


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_coupon_redeemed_by_many_at_once_is_given_once(host: Host) -> None:
    path = host.open("a")
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(
            pool.map(lambda n: host.post(f"{path}/coupons/redeem", {"code": "launch50"}, key=f"k{n}"), range(PARALLEL))
        )
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201] + [409] * (PARALLEL - 1)
    assert host.buckets(path) == {"recharge": 50_000_000}
    check_books(host)


@pytest.mark.parametrize("catalog", ["acn"])
def test_many_spends_at_once_take_no_more_than_there_is(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 100)
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(pool.map(lambda n: host.post(f"{path}/spends", {"amountCredits": "30"}), range(PARALLEL)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [402] * (PARALLEL - 3)
    assert host.buckets(path) == {"recharge": 10}
    check_books(host)


def test_one_hold_captured_by_many_at_once_is_captured_once(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 15)
    before = sum(host.buckets(path).values())
    hold = host.post(f"{path}/holds", {"amountCredits": "8"}).json()["holdId"]
    with ThreadPoolExecutor(PARALLEL) as pool:
        answers = list(
            pool.map(lambda n: host.post(f"{path}/holds/{hold}/capture", {"amountCredits": "4"}), range(PARALLEL))
        )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * (PARALLEL - 1)
    assert sum(host.buckets(path).values()) == before - 4
    check_books(host)


ODD_CREDITS = (
    "-1", "-0", "+1", "0", "", " ", "1 ", "1.0", "1e3", "0x10", "1_000", "1,000", "٣", "１", "NaN", "Infinity",
    "1" + "0" * 15 + "1", "9" * 40, -1, 0, 1.5, 1e3, True, None, [], {}, 2**63, 2**64 + 1,
)  # fmt: skip


@pytest.mark.parametrize("credits", ODD_CREDITS, ids=repr)
def test_odd_amounts_of_credits_are_refused_and_move_nothing(host: Host, credits: object) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 100)
    lot = host.balance(path)
    for operation, more in (("spends", {}), ("holds", {}), ("grants", {"bucket": "recharge", "source": "promo"})):
        answer = host.post(f"{path}/{operation}", {"amountCredits": credits} | more)
        assert_problem(answer, 400, "INVALID", field="amountCredits")
    assert host.balance(path) == lot


@pytest.mark.parametrize("cents", [-1, -1000, 0.5, 1000.0, "-1000", "1e3", "٣", True, None, [], 10**30], ids=repr)
def test_odd_amounts_of_money_buy_nothing(desk: Desk, cents: object) -> None:
    path = desk.host.open("a", "pro")
    answer = desk.host.post(f"{path}/checkout", {"amountUsdCents": cents})
    assert answer.status_code == 400, answer.text
    assert answer.json()["code"] in ("BILLING-001", "BILLING-002", "BILLING-003", "INVALID")
    assert not desk.provider.requests


@pytest.mark.parametrize("catalog", ["alphio", "acn", "ecolink"])
def test_splitting_an_amount_gains_nothing(host: Host, catalog: str) -> None:
    """Two purchases give at most what one of their sum gives: tiers reward size, and rounding is always down."""
    path = host.open("a", "pro" if catalog == "alphio" else None)

    def credits(cents: int) -> int:
        answer = host.get(f"{path}/quote", amountUsdCents=cents)
        assert answer.status_code == 200, answer.text
        return int(answer.json()["credits"])

    for whole in (2_000, 29_999, 30_000, 30_001, 60_000, 99_999):
        together = credits(whole)
        for part in (1_000, 1_001, whole // 3, whole // 2, whole - 1_000):
            if part >= 1_000 and whole - part >= 1_000:
                assert credits(part) + credits(whole - part) <= together, (whole, part)


def test_the_same_number_in_another_currency_is_not_the_same_money(desk: Desk) -> None:
    path = desk.host.open("a", "pro")
    for currency in ("JPY", "EUR", "usd", "XXX", "", "US", "USDT", "ＵＳＤ"):
        for method in ("quote", "checkout"):
            asked = {"amountMinor": 2_000, "currency": currency}
            url = f"{path}/{method}"
            answer = desk.host.get(url, **asked) if method == "quote" else desk.host.post(url, asked)
            assert answer.status_code == 400, (currency, answer.text)
    before = desk.host.buckets(path)
    desk.buy(path, 2_000, currency="JPY")
    desk.buy(path, 2_000, paid=20)
    assert desk.host.buckets(path) == before
    assert len(desk.queue("quarantined")) == 2
    check_books(desk.host)


def test_who_spends_and_then_takes_the_money_back_owes_it(desk: Desk) -> None:
    host = desk.host
    path = host.open("a", "pro")
    before = sum(host.buckets(path).values())
    purchase = desk.buy(path, 2_000)
    assert host.spend(path, before + 2_000).status_code == 201
    payment = desk.provider.requests[f"cs_{purchase}"]
    desk.deliver(desk.provider.say("refund", "re_1", "succeeded", 2_000, parent=f"pi_{purchase}", request=payment))
    balance = host.balance(path)
    assert (balance["balanceCredits"], balance["debtCredits"]) == ("0", "2000")
    assert_problem(host.spend(path, 1), 403, "WALLET-002")
    assert_problem(host.post(f"{path}/holds", {"amountCredits": "1"}), 403, "WALLET-002")
    host.grant(path, "recharge", 1_500)
    balance = host.balance(path)
    assert (balance["balanceCredits"], balance["debtCredits"]) == ("0", "500")
    assert_problem(
        host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "x"}, bearer=desk.support),
        409,
        "REFUND-003",
    )
    check_books(host)


def test_one_payment_told_again_and_again_is_credited_once(desk: Desk) -> None:
    path = desk.host.open("a", "pro")
    before = desk.host.buckets(path)["recharge"]
    purchase = desk.buy(path, 2_000)
    for _ in range(4):
        desk.deliver(desk.payment(purchase, 2_000))
    assert desk.host.buckets(path)["recharge"] == before + 2_000
    check_books(desk.host)


def test_a_store_purchase_is_credited_to_one_account_however_often_and_by_whom_it_is_shown(shop: Shop) -> None:
    other = shop.host.open("otto", "pro")
    number = shop.apple.world.buy(shop.token())
    signed = shop.apple.world.signed(number)
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda n: shop.post_apple(signed, other if n % 2 else None), range(6)))
    assert {answer.status_code for answer in answers[0::2]} == {200}
    assert {answer.status_code for answer in answers[1::2]} == {404}
    assert (shop.recharge(), shop.recharge(other)) == (1_000, 0)
    head, body, signature = signed.split(".")
    for forged in (f"{head}.{body}.{signature[:-8]}AAAAAAAA", f"{head}.{body}.", "x", signed + "x", f"{head}.{body}"):
        assert shop.post_apple(forged).status_code == 400
    assert shop.recharge() == 1_000
    shop.check_books()
