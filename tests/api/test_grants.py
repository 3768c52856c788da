"""Grants by the host: sources, buckets, expiry, and campaigns that grant once."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from api.grants import TYPES
from engine.audit import audit
from tests.api.host import Host, assert_problem

REFERRAL = {"bucket": "limited_time", "amountCredits": "50", "source": "referral", "campaign": "spring", "step": "1"}


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


def test_a_grant_makes_its_own_lot(host: Host, path: str) -> None:
    body = {
        "bucket": "limited_time",
        "amountCredits": "50",
        "source": "survey",
        "expiresAt": "2026-12-01T02:00:00+02:00",
        "description": "Thank you",
        "metadata": {"survey": 7},
    }
    answer = host.post(f"{path}/grants", body, key="g1")
    made = answer.json()
    assert (answer.status_code, made["balanceAfter"]) == (201, "50")
    assert (made["transaction"]["description"], made["transaction"]["metadata"]) == ("Thank you", {"survey": 7})
    (lot,) = host.balance(path)["buckets"][0]["lots"]
    assert (lot["lotId"], lot["source"], lot["expiresAt"]) == (made["lotId"], "survey", "2026-12-01T00:00:00Z")
    again = host.post(f"{path}/grants", body | {"expiresAt": "2026-12-01T00:00:00Z"}, key="g1")
    assert (again.json(), again.headers["idempotency-replayed"]) == (made, "true")
    assert_problem(host.post(f"{path}/grants", body | {"amountCredits": "51"}, key="g1"), 422, "IDEMPOTENCY-002")
    assert_problem(host.post(f"{path}/grants", body, key=None), 400, "IDEMPOTENCY-001")


@pytest.mark.parametrize("source", sorted(TYPES))
def test_each_source_becomes_its_kind_of_row(host: Host, path: str, source: str) -> None:
    body = {"bucket": "recharge", "amountCredits": "5", "source": source}
    row = host.post(f"{path}/grants", body).json()["transaction"]
    kinds = {
        "custom_credits": "deposit", "volume_discount": "volume_discount", "coupon": "coupon_credit",
        "promo": "promo_credit", "referral": "promo_credit", "survey": "promo_credit", "check_in": "promo_credit",
        "subscription": "monthly_credit", "auto_recharge": "auto_recharge", "commit": "commit_credit",
        "admin": "admin_credit",
    }  # fmt: skip
    assert (row["type"], row["source"], row["amountCredits"]) == (kinds[source], source, "5")
    assert row["description"]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"bucket": "weekly"}, "bucket"),
        ({"source": "gift"}, "source"),
        ({"amountCredits": "0"}, "amountCredits"),
        ({"bucket": "recharge", "expiresAt": "2027-01-01T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": "2026-11-02T09:30:00Z"}, "expiresAt"),
        ({"expiresAt": "2027-01-01T00:00:00"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T23:59:59-12:00"}, "expiresAt"),
        ({"expiresAt": "9999-12-31T00:00:00Z"}, "expiresAt"),
        ({"expiresAt": 5}, "expiresAt"),
        ({"campaign": "a/b"}, "campaign"),
        ({"step": "1"}, "step"),
        ({"review": "yes"}, "review"),
    ],
)
def test_a_malformed_grant_names_its_field(host: Host, path: str, change: dict[str, object], field: str) -> None:
    body = {"bucket": "monthly", "amountCredits": "5", "source": "promo"} | change
    assert_problem(host.post(f"{path}/grants", body), 400, "INVALID", field=field)
    assert host.get(f"{path}/transactions").json()["pagination"]["total"] == 0


@pytest.mark.parametrize("catalog", ["ecolink"])
def test_a_bucket_that_the_catalogue_does_not_have_is_refused(host: Host, path_of_first: str) -> None:
    body = {"bucket": "monthly", "amountCredits": "5", "source": "promo"}
    assert_problem(host.post(f"{path_of_first}/grants", body), 400, "INVALID", field="bucket")


@pytest.fixture
def path_of_first(host: Host) -> str:
    return host.open("a")


def test_a_wallet_holds_at_most_a_quadrillion(host: Host, path: str) -> None:
    host.grant(path, "recharge", 10**15 - 1)
    body = {"bucket": "recharge", "amountCredits": "2", "source": "admin"}
    assert_problem(host.post(f"{path}/grants", body), 400, "INVALID", field="amountCredits")
    host.grant(path, "recharge", 1)
    assert host.balance(path)["balanceCredits"] == str(10**15)


def test_what_was_spent_comes_back_even_to_a_wallet_that_is_full(host: Host, path: str) -> None:
    host.grant(path, "recharge", 10**15)
    spent = host.spend(path, 7).json()["transaction"]["id"]
    host.grant(path, "recharge", 7)
    undone = host.post(f"{path}/spends/{spent}/reversal", {})
    assert (undone.status_code, undone.json()["balanceAfter"]) == (201, str(10**15 + 7))
    body = {"bucket": "recharge", "amountCredits": "1", "source": "admin"}
    assert_problem(host.post(f"{path}/grants", body), 400, "INVALID", field="amountCredits")
    assert host.spend(path, 8).json()["balanceAfter"] == str(10**15 - 1)
    assert audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_a_repeated_step_answers_the_first_grant(host: Host, path: str) -> None:
    first = host.post(f"{path}/grants", REFERRAL)
    host.spend(path, 10)
    again = host.post(f"{path}/grants", REFERRAL | {"amountCredits": "70"})
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    row = first.json()["transaction"]
    assert (row["referenceType"], row["referenceId"], row["description"]) == (
        "campaign", "spring/1", "Promotion: spring",
    )  # fmt: skip
    assert host.post(f"{path}/grants", REFERRAL | {"step": "2"}).json()["balanceAfter"] == "90"
    other = host.open("b", plan="pro")
    assert host.post(f"{other}/grants", REFERRAL).json()["balanceAfter"] == "50"
    alone = {name: value for name, value in REFERRAL.items() if name != "step"}
    assert host.post(f"{other}/grants", alone).json()["balanceAfter"] == "100"
    assert host.post(f"{other}/grants", alone).headers["idempotency-replayed"] == "true"


def test_a_key_that_named_one_step_does_not_serve_another(host: Host, path: str) -> None:
    host.post(f"{path}/grants", REFERRAL, key="k")
    assert_problem(host.post(f"{path}/grants", REFERRAL | {"step": "2"}, key="k"), 422, "IDEMPOTENCY-002")


def test_a_step_is_granted_once_to_many_who_ask_at_once(host: Host, path: str) -> None:
    barrier = threading.Barrier(6)

    def ask(number: int) -> str:
        barrier.wait()
        answer = host.post(f"{path}/grants", REFERRAL, key=f"k{number}")
        assert answer.status_code == 201
        return str(answer.json()["lotId"])

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ask, range(6)))) == 1
    assert host.balance(path)["balanceCredits"] == "50"
