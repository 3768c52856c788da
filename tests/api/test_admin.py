"""Administrators over HTTP: corrections of both signs, suspending, resuming, closing, and the log of it all."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from engine.audit import audit
from engine.store.credentials import KeyRole
from tests.api.host import Host, assert_problem

ADMIN = "/v1/admin/accounts/a"
GRANT = {"bucket": "recharge", "amountCredits": "500", "reason": "lost in the move"}


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def admin(host: Host) -> str:
    return host.new_key("admin")


def log(host: Host) -> list[tuple[str, str, str]]:
    """Actor, action and reason of every act, newest first."""
    answer = host.get("/v1/admin/audit-log", bearer=host.new_key("auditor"))
    assert answer.status_code == 200
    return [(act["actor"], act["action"], act["reason"]) for act in answer.json()["auditLog"]]


def test_a_grant_is_a_correction_with_its_reason(host: Host, path: str, admin: str) -> None:
    answer = host.post(f"{ADMIN}/grants", GRANT, key="k", bearer=admin)
    made = answer.json()
    assert (answer.status_code, made["balanceAfter"]) == (201, "500")
    row = made["transaction"]
    told = (row["type"], row["source"], row["description"], row["referenceType"], row["metadata"])
    assert told == (
        "admin_credit", "admin", "Correction: lost in the move", "admin", {"reason": "lost in the move"},
    )  # fmt: skip
    again = host.post(f"{ADMIN}/grants", GRANT, key="k", bearer=admin)
    assert (again.json(), again.headers["idempotency-replayed"]) == (made, "true")
    assert_problem(
        host.post(f"{ADMIN}/grants", GRANT | {"reason": "another"}, key="k", bearer=admin), 422, "IDEMPOTENCY-002"
    )
    assert_problem(host.post(f"{ADMIN}/grants", GRANT, key=None, bearer=admin), 400, "IDEMPOTENCY-001")
    assert log(host) == [("admin:Kim", "credits.granted", "lost in the move")]
    until = {"bucket": "limited_time", "expiresAt": (host.clock.now() + timedelta(days=1)).isoformat()}
    host.post(f"{ADMIN}/grants", GRANT | until, bearer=admin)
    assert host.buckets(path) == {"limited_time": 500, "monthly": 0, "recharge": 500}
    host.wait(days=1)
    assert host.balance(path)["balanceCredits"] == "500"


def test_a_hosts_key_and_an_admins_are_apart(host: Host, path: str, admin: str) -> None:
    host.post(f"{path}/grants", {"bucket": "recharge", "amountCredits": "500", "source": "admin"}, key="k")
    assert host.post(f"{ADMIN}/grants", GRANT, key="k", bearer=admin).json()["balanceAfter"] == "1000"


def test_an_act_may_have_words_for_the_customer_beside_its_reason(host: Host, path: str, admin: str) -> None:
    words = {"reason": "lost in the move", "description": "With our apologies"}
    for act, more in (("grants", {"bucket": "recharge", "source": "admin"}), ("debits", {})):
        made = host.post(f"{ADMIN}/{act}", {"amountCredits": "5", **words, **more}, bearer=admin)
        row = made.json()["transaction"]
        assert (made.status_code, row["description"]) == (201, "With our apologies")
        assert row["metadata"] == {"reason": "lost in the move"}
    assert [reason for _, _, reason in log(host)] == ["lost in the move"] * 2
    other = GRANT | {"source": "promo"}
    assert_problem(host.post(f"{ADMIN}/grants", other, bearer=admin), 400, "INVALID", field="source")


def test_a_debit_is_all_or_nothing_in_spend_order(host: Host, path: str, admin: str) -> None:
    first = host.grant(path, "limited_time", 5)
    second = host.grant(path, "recharge", 10)
    body = {"amountCredits": "12", "reason": "granted twice"}
    made = host.post(f"{ADMIN}/debits", body, key="k", bearer=admin)
    assert made.status_code == 201
    assert made.json()["draws"] == [
        {"lotId": first, "bucket": "limited_time", "amountCredits": "5"},
        {"lotId": second, "bucket": "recharge", "amountCredits": "7"},
    ]
    row = made.json()["transaction"]
    assert (row["type"], row["amountCredits"], row["description"]) == (
        "admin_debit",
        "-12",
        "Correction: granted twice",
    )
    assert host.post(f"{ADMIN}/debits", body, key="k", bearer=admin).headers["idempotency-replayed"] == "true"
    assert_problem(host.post(f"{ADMIN}/debits", body, bearer=admin), 402, "CREDIT-001", shortfallCredits="9")
    one = {"amountCredits": "3", "reason": "x", "bucket": "limited_time"}
    assert_problem(host.post(f"{ADMIN}/debits", one, bearer=admin), 402, "CREDIT-001", availableCredits="0")
    assert host.post(f"{ADMIN}/debits", one | {"bucket": "recharge"}, bearer=admin).json()["balanceAfter"] == "0"
    assert [action for _, action, _ in log(host)] == ["credits.debited", "credits.debited"]
    assert host.balance(path)["dailySpentCredits"] == "0", "a correction is no usage"
    assert_problem(host.post(f"{path}/spends/{row['id']}/reversal", bearer=host.service_key), 404, "NOT-FOUND")


@pytest.mark.parametrize(
    ("act", "body", "field"),
    [
        ("grants", {"bucket": "recharge", "amountCredits": "5"}, "reason"),
        ("grants", GRANT | {"reason": ""}, "reason"),
        ("grants", GRANT | {"reason": " \t "}, "reason"),
        ("grants", GRANT | {"reason": "x" * 501}, "reason"),
        ("grants", GRANT | {"amountCredits": "-5"}, "amountCredits"),
        ("grants", GRANT | {"expiresAt": "2027-01-01T00:00:00Z"}, "expiresAt"),
        ("grants", GRANT | {"source": "promo"}, "source"),
        ("debits", {"amountCredits": "5"}, "reason"),
        ("debits", {"amountCredits": "0", "reason": "x"}, "amountCredits"),
        ("debits", {"amountCredits": "5", "reason": "x", "bucket": "weekly"}, "bucket"),
        ("suspend", {}, "reason"),
        ("close", {"reason": "\n"}, "reason"),
    ],
)
def test_a_malformed_act_names_its_field(
    host: Host, path: str, admin: str, act: str, body: dict[str, object], field: str
) -> None:
    assert_problem(host.post(f"{ADMIN}/{act}", body, bearer=admin), 400, "INVALID", field=field)
    assert log(host) == [] and host.balance(path)["status"] == "active"


@pytest.mark.parametrize("catalog", ["acn"])
def test_a_bucket_that_the_catalogue_does_not_have_is_refused(host: Host, admin: str) -> None:
    host.open("a")
    for act in ("grants", "debits"):
        answer = host.post(f"{ADMIN}/{act}", GRANT | {"bucket": "monthly"}, bearer=admin)
        assert_problem(answer, 400, "ACN-INVALID", field="bucket")


def test_an_account_that_is_not_there(host: Host, path: str, admin: str) -> None:
    for act in ("suspend", "resume", "close"):
        answer = host.post(f"/v1/admin/accounts/b/{act}", {"reason": "x"}, bearer=admin)
        assert_problem(answer, 404, "NOT-FOUND")
    assert_problem(host.post("/v1/admin/accounts/b/grants", GRANT, bearer=admin), 404, "NOT-FOUND")
    assert log(host) == []


def test_a_suspended_wallet_is_resumed(host: Host, path: str, admin: str) -> None:
    host.grant(path, "recharge", 10)
    spent = host.spend(path, 4).json()["transaction"]["id"]
    answer = host.post(f"{ADMIN}/suspend", {"reason": "chargeback"}, key="k", bearer=admin)
    assert (answer.status_code, answer.json()) == (200, {"accountId": "a", "status": "suspended"})
    assert host.balance(path)["status"] == "suspended"
    assert_problem(host.spend(path, 1), 403, "WALLET-001", walletStatus="suspended")
    assert_problem(host.post(f"{path}/checkout", {"amountUsdCents": 2_000}), 403, "WALLET-001")
    assert host.post(f"{path}/spends/{spent}/reversal").status_code == 201
    host.grant(path, "recharge", 1)
    host.wait(seconds=1)
    assert host.post(f"{ADMIN}/grants", GRANT, bearer=admin).status_code == 201
    host.post(f"{ADMIN}/suspend", {"reason": "once more"}, bearer=admin)
    host.wait(seconds=1)
    assert host.post(f"{ADMIN}/resume", {"reason": "settled"}, bearer=admin).json()["status"] == "active"
    again = host.post(f"{ADMIN}/suspend", {"reason": "chargeback"}, key="k", bearer=admin)
    assert (again.json()["status"], again.headers["idempotency-replayed"]) == ("suspended", "true")
    assert_problem(host.post(f"{ADMIN}/suspend", {"reason": "y"}, key="k", bearer=admin), 422, "IDEMPOTENCY-002")
    assert host.spend(path, 511).status_code == 201
    assert log(host) == [
        ("admin:Kim", "wallet.resumed", "settled"),
        ("admin:Kim", "credits.granted", "lost in the move"),
        ("admin:Kim", "wallet.suspended", "chargeback"),
    ]


def test_a_closed_wallet_keeps_nothing_and_only_answers_reads(host: Host, path: str, admin: str) -> None:
    host.grant(path, "limited_time", 5, host.clock.now() + timedelta(days=3))
    host.grant(path, "recharge", 10)
    key = host.new_key("account", "a")
    assert host.post(f"{ADMIN}/close", {"reason": "asked by mail"}, bearer=admin).json()["status"] == "closed"
    shown = host.balance(path)
    assert (shown["status"], shown["balanceCredits"], shown["nextDraw"]) == ("closed", "0", None)
    rows = host.get("/v1/billing/transactions", bearer=key, type="forfeit").json()["transactions"]
    assert [(row["amountCredits"], row["description"]) for row in rows] == [
        ("-10", "Account closed, credits forfeited"),
        ("-5", "Account closed, credits forfeited"),
    ]
    refused = (
        host.spend(path, 1),
        host.post(f"{path}/grants", {"bucket": "recharge", "amountCredits": "5", "source": "promo"}),
        host.post(f"{ADMIN}/grants", GRANT, bearer=admin),
        host.post(f"{ADMIN}/debits", {"amountCredits": "1", "reason": "x"}, bearer=admin),
        host.post(f"{ADMIN}/resume", {"reason": "x"}, bearer=admin),
        host.post(f"{ADMIN}/suspend", {"reason": "x"}, bearer=admin),
        host.post(f"{path}/coupons/redeem", {"code": "WELCOME100"}),
        host.post(f"{path}/checkout", {"amountUsdCents": 2_000}),
        host.post(f"{path}/api-keys", {"name": "laptop"}),
    )
    for answer in refused:
        assert_problem(answer, 403, "WALLET-001", walletStatus="closed")
    assert host.post(f"{ADMIN}/close", {"reason": "again"}, bearer=admin).status_code == 200
    assert log(host) == [("admin:Kim", "wallet.closed", "asked by mail")]
    assert audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_spends_and_a_closing_at_once_lose_nothing(host: Host, path: str, admin: str) -> None:
    host.grant(path, "recharge", 1_000)

    def act(number: int) -> int:
        if number == 10:
            return host.post(f"{ADMIN}/close", {"reason": "x"}, bearer=admin).status_code
        return host.spend(path, 10).status_code

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(act, range(40)))
    assert statuses[10] == 200 and set(statuses) <= {200, 201, 403}
    rows = host.get(f"{path}/transactions", limit=100).json()["transactions"]
    spent = -sum(int(row["amountCredits"]) for row in rows if row["type"] == "debit")
    assert spent == 10 * statuses.count(201)
    assert -sum(int(row["amountCredits"]) for row in rows if row["type"] == "forfeit") == 1_000 - spent
    assert rows[0]["type"] == "forfeit" and rows[0]["balanceAfter"] == "0"
    assert audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_corrections_with_one_key_at_once_are_one(host: Host, path: str, admin: str) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: host.post(f"{ADMIN}/grants", GRANT, key="k", bearer=admin), range(10)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["lotId"] for answer in answers}) == 1 and len(log(host)) == 1
    assert host.balance(path)["balanceCredits"] == "500"


@pytest.mark.parametrize("role", ["account", "service", "support", "approver", "auditor"])
def test_only_an_administrator_may(host: Host, path: str, role: KeyRole) -> None:
    key = host.new_key(role, "a" if role == "account" else None)
    for act in ("grants", "debits", "suspend", "resume", "close"):
        assert_problem(host.post(f"{ADMIN}/{act}", GRANT, bearer=key), 403, "AUTH-002")
    if role == "auditor":
        assert host.get("/v1/admin/audit-log", bearer=key).status_code == 200
    else:
        assert_problem(host.get("/v1/admin/audit-log", bearer=key), 403, "AUTH-002")


def test_the_log_is_read_by_page(host: Host, path: str, admin: str) -> None:
    for number in range(3):
        host.wait(seconds=1)
        host.post(f"{ADMIN}/grants", GRANT | {"reason": f"number {number}"}, bearer=admin)
    page = host.get("/v1/admin/audit-log", bearer=admin, page=2, limit=2).json()
    assert page["pagination"] == {"page": 2, "limit": 2, "total": 3}
    (act,) = page["auditLog"]
    assert (act["accountId"], act["reason"], act["facts"]) == ("a", "number 0", {"amountCredits": "500"})
    newest = host.get("/v1/admin/audit-log", bearer=admin, limit=1).json()["auditLog"][0]
    row = host.get(f"{path}/transactions").json()["transactions"][0]
    assert (newest["reason"], newest["objectId"]) == ("number 2", row["id"])
