"""What stands beside the books, changed behind our back: keys' days, decisions, invoices, claimed purchases."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from engine.audit import audit
from engine.audit_desk import CHECKS
from engine.rules.stores import Sighting
from engine.store import stores
from engine.store.database import Database, transact, writing
from tests.api.desk import Desk, open_desk
from tests.api.host import Host
from tests.api.subscriber import subscriber
from tests.api.test_second_payments import pay_again
from tests.engine.support import FakeClock

TAMPERED = (
    ("UPDATE key_usage_daily SET credits_spent = 8", "more counts on its keys today than on the wallet"),
    ("UPDATE key_usage_daily SET api_key_id = 'key_x'", "a key counts days on another account than its own"),
    (
        "UPDATE proposals SET transaction_id = NULL WHERE status = 'approved'",
        "it is approved without a transaction, or has one and is not",
    ),
    (
        "UPDATE proposals SET status = 'rejected' WHERE status = 'approved'",
        "it is approved without a transaction, or has one and is not",
    ),
    ("UPDATE proposals SET decided_by = NULL", "it is decided by nobody, or waits and was decided"),
    ("UPDATE proposals SET credits = credits + 1", "what it moved is not 601"),
    (
        "UPDATE resolutions SET reversal_id = NULL",
        "its decision was a refund without one, or another decision with one",
    ),
    ("UPDATE resolutions SET reversal_id = 'rev_x'", "the refund that was decided is not of this purchase"),
    ("UPDATE second_payments SET payment_id = 'pi_x'", "it counts as a second payment and no such payment came"),
    (
        "UPDATE second_payments SET payment_id = 'pi_' || purchase_id",
        "the payment that was credited counts as a second one",
    ),
    (
        "UPDATE reversals SET credits = credits + 1",
        "the refund that was asked for is not known, or as another one",
    ),
    (
        "UPDATE store_purchases SET status = 'bound'",
        "it is bound without a purchase of its store, or has one and is not",
    ),
)


@pytest.fixture
def desk(host: Host) -> Desk:
    """A key that spent, an approved correction, a refund that was decided, a second payment, an unclaimed purchase."""
    desk = open_desk(host, grant_limit=500)
    path = host.open("a", plan="pro")
    body = {"bucket": "recharge", "amountCredits": "600", "reason": "lost"}
    made = host.post("/v1/admin/accounts/a/grants", body, bearer=desk.admin).json()
    assert desk.resolve("approvals", made["proposalId"], "approve", desk.approver).status_code == 200
    key = host.post(f"{path}/api-keys", {"name": "laptop"}).json()["id"]
    assert host.spend(path, 7, apiKeyId=key).status_code == 201
    wrong = desk.buy(path, 2_000, paid=1_500)
    assert desk.resolve("quarantined", wrong, "refund").status_code == 200
    desk.deliver(pay_again(desk, desk.buy(path, 2_000)))
    sighting = Sighting(object_id="o1", product_id="p", quantity=1, state="paid", version=1, live=True)
    key_of = ("google", "pkg", "live", "o1")
    now = host.clock.now()
    transact(host.runtime.db, lambda session: stores.keep_sighting(session, key_of, sighting, "nameless", now))
    return desk


def found(host: Host) -> set[str]:
    return {each.what for each in audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).findings}


@pytest.mark.parametrize(("statement", "what"), TAMPERED, ids=[str(n) for n in range(len(TAMPERED))])
def test_a_change_is_found(host: Host, desk: Desk, statement: str, what: str) -> None:
    assert found(host) == set()
    with writing(host.runtime.db) as session:
        assert session.connection().execute(text(statement)).rowcount == 1
    assert what in found(host)


def test_an_invoice_whose_payment_is_of_no_subscription_is_found(db: Database, clock: FakeClock) -> None:
    mira = subscriber(db, clock)
    mira.subscribe("pro")
    assert mira.is_clean()
    with writing(db) as session:
        session.connection().execute(text("UPDATE purchases SET subscription_id = 'sub_x'"))
    assert "its payment is not of its subscription" in found(mira.host)


def test_a_keys_day_counts_what_was_spent_and_held_with_it(host: Host, desk: Desk) -> None:
    """Holds of every end and what came back, on the day and later, and then a day that says something else."""
    path, db = "/v1/accounts/a", host.runtime.db
    with writing(db) as session:
        (key,) = session.execute(text("SELECT api_key_id FROM key_usage_daily")).scalars()
    held = [
        host.post(f"{path}/holds", {"amountCredits": "9", "apiKeyId": key, "expiresInSeconds": 90_000}).json()["holdId"]
        for _ in range(4)
    ]
    assert host.post(f"{path}/holds/{held[0]}/capture", {"amountCredits": "4"}).status_code == 200
    assert host.post(f"{path}/holds/{held[1]}/void").status_code == 200
    spent = host.spend(path, 5, apiKeyId=key).json()["transaction"]["id"]
    assert host.post(f"{path}/spends/{spent}/reversal", {"amountCredits": "2"}).status_code == 201
    assert found(host) == set()
    host.clock.advance(timedelta(days=1))
    assert host.post(f"{path}/holds/{held[2]}/capture", {"amountCredits": "4"}).status_code == 200
    assert host.post(f"{path}/spends/{spent}/reversal", {"amountCredits": "2"}).status_code == 201
    assert host.spend(path, 1, apiKeyId=key).status_code == 201
    assert found(host) == set()
    with writing(db) as session:
        session.execute(text("UPDATE key_usage_daily SET credits_spent = credits_spent - 1"))
    # 7 spent, 4 of 9 captured, 9 and 9 held, 3 of 5 left: 32 on the first day, 1 on the second.
    assert found(host) == {f"31 count on {key}, its rows say 32", f"0 count on {key}, its rows say 1"}


ELSEWHERE = {
    "its payment is not of its subscription",
    "the wallet is closed and has credits",
    "the wallet's status is none that there is",
}
"""What is changed in a test of its own, here or in `tests/engine/test_audit.py`."""


def test_every_check_has_a_change_that_it_finds() -> None:
    told = {what for _, what in TAMPERED} | ELSEWHERE
    assert {what for what, _ in CHECKS} <= told


def test_yesterday_counts_on_no_wallet_any_more(host: Host, desk: Desk) -> None:
    """A key's day that is over stays as it was while the wallet begins a new one."""
    host.clock.advance(timedelta(days=1))
    assert host.spend("/v1/accounts/a", 1).status_code == 201
    assert found(host) == set()
