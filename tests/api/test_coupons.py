"""Redeeming coupons over HTTP: every code, once for each account, caps across accounts, and guessing."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone

import msgspec
import pytest
from httpx import Response
from litestar.testing import TestClient

from engine.audit import audit
from engine.rules.catalog import Coupon
from engine.store.credentials import KeyRole
from tests.api.host import Host, assert_problem, new_app

ENDS = datetime(2026, 11, 3, tzinfo=timezone.utc)
COUPONS = (
    Coupon(code="WELCOME", description="Welcome", credits=100, bucket="limited_time", expires_after_days=30),
    Coupon(code="Straße", description="A street", credits=7, bucket="recharge"),
    Coupon(code="EARLY", description="Early", credits=5, bucket="recharge", ends_at=ENDS, plans=("elite",)),
    Coupon(code="FIVE", description="For five", credits=50, bucket="recharge", max_redemptions=5),
    Coupon(code="BUYER", description="For buyers", credits=5, bucket="recharge", first_top_up_required=True),
    Coupon(code="ELITE", description="For the elite", credits=5, bucket="recharge", plans=("elite",)),
    Coupon(code="ALPS", description="For the Alps", credits=5, bucket="recharge", countries=("AT", "CH")),
    Coupon(code="HUGE", description="Huge", credits=10**15, bucket="recharge", max_redemptions=1),
)


@pytest.fixture
def shop(host: Host) -> Iterator[Host]:
    """A host whose catalogue has coupons of every kind."""
    runtime = replace(host.runtime, catalog=msgspec.structs.replace(host.runtime.catalog, coupons=COUPONS))
    app = new_app(runtime)
    with TestClient(app) as client:
        yield Host(client, runtime, app.state["site"], host.clock, host.service_key)


def redeem(shop: Host, path: str, code: str, **more: str | None) -> Response:
    return shop.post(f"{path}/coupons/redeem", {"code": code}, **({"key": None} | more))  # type: ignore[arg-type]


def used(shop: Host, coupon: str) -> int:
    with shop.runtime.db.reader.connect() as connection:
        found = connection.exec_driver_sql(f"SELECT used FROM coupon_uses WHERE coupon = '{coupon}'").scalar()
    return int(found or 0)


@pytest.mark.parametrize("catalog", ["acn"])
def test_launch50_is_the_contracts_example(host: Host) -> None:
    path = host.open("a")
    answer = redeem(host, path, " launch50 ")
    assert answer.status_code == 201
    assert answer.json() == {
        "code": "LAUNCH50",
        "creditsGranted": "50000000",
        "usdcEquivalent": "50.000000",
        "description": "Launch promotion: $50 free credits",
        "newBalance": "50000000",
    }
    (row,) = host.get(f"{path}/transactions").json()["transactions"]
    told = {name: row[name] for name in ("type", "source", "description", "referenceType", "referenceId")}
    assert told == {
        "type": "coupon_credit",
        "source": "coupon",
        "description": "Coupon: LAUNCH50 — Launch promotion: $50 free credits",
        "referenceType": "coupon",
        "referenceId": "LAUNCH50",
    }
    assert_problem(redeem(host, path, "LAUNCH50"), 409, "ACN-COUPON-002")


def test_a_coupon_with_an_expiry_makes_a_lot_that_ends(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    assert redeem(shop, path, "welcome").json()["usdcEquivalent"] is None
    (lot,) = shop.balance(path)["buckets"][0]["lots"]
    assert (lot["source"], lot["availableCredits"], lot["expiresAt"]) == ("coupon", "100", "2026-12-02T09:30:00Z")
    shop.wait(days=31)
    assert shop.balance(path)["balanceCredits"] == "0"
    assert_problem(redeem(shop, path, "WELCOME"), 409, "COUPON-002")


@pytest.mark.parametrize("code", ["STRASSE", "  strasse\t", "ＳＴＲＡＳＳＥ"])
def test_spellings_of_one_code_are_one_coupon(shop: Host, code: str) -> None:
    path = shop.open("a", plan="pro")
    assert redeem(shop, path, code).json()["code"] == "Straße"
    assert_problem(redeem(shop, path, "Straße"), 409, "COUPON-002")
    assert shop.balance(path)["balanceCredits"] == "7"


def test_terms_are_refused_in_order_and_leave_no_trace(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    assert_problem(redeem(shop, path, "EARLY"), 403, "COUPON-004", term="plan")
    shop.clock.advance(ENDS - shop.clock.now())
    assert_problem(redeem(shop, path, "EARLY"), 410, "COUPON-003", endedAt="2026-11-03T00:00:00Z")
    assert_problem(redeem(shop, path, "BUYER"), 403, "COUPON-004", term="first_top_up")
    assert_problem(redeem(shop, path, "ELITE"), 403, "COUPON-004", term="plan")
    assert_problem(redeem(shop, path, "ALPS"), 403, "COUPON-004", term="country")
    assert_problem(redeem(shop, path, "NOSUCH"), 404, "COUPON-001")
    assert_problem(redeem(shop, "/v1/accounts/nobody", "FIVE"), 404, "NOT-FOUND")
    for field in ({}, {"code": ""}, {"code": 5}, {"code": "x" * 201}):
        assert_problem(shop.post(f"{path}/coupons/redeem", field), 400, "INVALID", field="code")
    assert shop.get(f"{path}/transactions").json()["pagination"]["total"] == 0
    assert [used(shop, code) for code in ("early", "buyer", "elite", "alps")] == [0] * 4


def test_terms_that_are_met_let_it_through(shop: Host) -> None:
    path = shop.open("a", plan="elite")
    assert shop.client.put(
        f"{path}/profile", json={"country": "CH"}, headers={"Authorization": f"Bearer {shop.service_key}"}
    ).is_success
    for code in ("EARLY", "ELITE", "ALPS"):
        assert redeem(shop, path, code).status_code == 201
    assert shop.balance(path)["balanceCredits"] == "15"


def test_a_key_answers_the_first_answer_again_and_names_one_code(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    first = redeem(shop, path, "FIVE", key="k")
    shop.grant(path, "recharge", 1)
    again = redeem(shop, path, "five", key="k")
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")
    assert_problem(redeem(shop, path, "WELCOME", key="k"), 422, "IDEMPOTENCY-002")
    assert_problem(redeem(shop, path, "ELITE", key="later"), 403, "COUPON-004")
    assert redeem(shop, path, "WELCOME", key="later").status_code == 201
    assert used(shop, "five") == 1


def test_what_the_wallet_cannot_hold_is_not_counted_against_the_cap(shop: Host) -> None:
    full, empty = shop.open("a", plan="pro"), shop.open("b", plan="pro")
    shop.grant(full, "recharge", 1)
    assert_problem(redeem(shop, full, "HUGE"), 400, "INVALID", field="code")
    assert redeem(shop, empty, "HUGE").status_code == 201
    assert_problem(redeem(shop, full, "HUGE"), 409, "COUPON-005")


def test_an_account_redeems_once_however_many_ask_at_once(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: redeem(shop, path, "WELCOME"), range(50)))
    assert sorted(a.status_code for a in answers) == [201] + [409] * 49
    assert shop.balance(path)["balanceCredits"] == "100" and used(shop, "welcome") == 1
    assert shop.get(f"{path}/transactions").json()["pagination"]["total"] == 1


def test_a_cap_is_exact_however_many_accounts_ask_at_once(shop: Host) -> None:
    paths = [shop.open(f"a{n}", plan="pro") for n in range(20)]
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda path: redeem(shop, path, "FIVE"), paths))
    assert sorted(a.status_code for a in answers) == [201] * 5 + [409] * 15
    assert {a.json()["code"] for a in answers if a.status_code == 409} == {"COUPON-005"}
    assert sum(int(shop.balance(path)["balanceCredits"]) for path in paths) == 250 and used(shop, "five") == 5
    assert audit(shop.runtime.db, shop.runtime.secrets.all_for("ledger chain")).is_clean


def test_guessing_ends_after_twenty_unknown_codes_an_hour(shop: Host) -> None:
    path, other = shop.open("a", plan="pro"), shop.open("b", plan="pro")
    for n in range(19):
        assert_problem(redeem(shop, path, f"GUESS{n}"), 404, "COUPON-001")
        assert_problem(redeem(shop, path, "ELITE"), 403, "COUPON-004")
    shop.wait(minutes=59)
    assert_problem(redeem(shop, path, "GUESS19"), 404, "COUPON-001")
    refused = redeem(shop, path, "GUESS20")
    assert_problem(refused, 429, "RATE-001", retryAfterSeconds=60)
    assert refused.headers["retry-after"] == "60"
    assert_problem(redeem(shop, path, "FIVE"), 429, "RATE-001")
    assert redeem(shop, other, "FIVE").status_code == 201
    shop.wait(minutes=1)
    assert_problem(redeem(shop, path, "GUESS21"), 404, "COUPON-001")
    assert redeem(shop, path, "FIVE").status_code == 201


def test_guesses_made_at_once_are_all_counted(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda n: redeem(shop, path, f"GUESS{n}"), range(30)))
    assert sorted(a.status_code for a in answers) == [404] * 20 + [429] * 10


def test_a_suspended_wallet_redeems_nothing(shop: Host) -> None:
    path = shop.open("a", plan="pro")
    admin = shop.new_key("admin")
    shop.post("/v1/admin/accounts/a/suspend", {"reason": "chargeback"}, bearer=admin)
    for code in ("FIVE", "NOSUCH"):
        assert_problem(redeem(shop, path, code), 403, "WALLET-001", walletStatus="suspended")
    shop.post("/v1/admin/accounts/a/resume", {"reason": "settled"}, bearer=admin)
    assert redeem(shop, path, "FIVE").status_code == 201


@pytest.mark.parametrize("role", ["account", "support", "approver", "admin", "auditor"])
def test_the_customer_and_the_host_redeem_and_no_staff(shop: Host, role: KeyRole) -> None:
    path = shop.open("a", plan="pro")
    key = shop.new_key(role, "a" if role == "account" else None)
    answer = redeem(shop, "/v1/billing" if role == "account" else path, "FIVE", bearer=key)
    if role == "account":
        assert answer.status_code == 201
    else:
        assert_problem(answer, 403, "AUTH-002")
