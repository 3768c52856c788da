"""The server killed in the middle: each acknowledged spend is there once, each payment is credited once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from api.script import Desk, demo
from engine.audit import audit
from engine.runtime import Secrets
from engine.store.database import open_database

SPENDERS = 8
BUYERS = 3


class Ledger:
    """What clients were told, and what they asked for and never heard about."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.spent: dict[str, str] = {}
        self.paid: list[str] = []


def spend_on(desk: Desk, who: int, ledger: Ledger, stop: threading.Event) -> None:
    """Spend until the server is gone, each spend with a key of its own."""
    number = 0
    with httpx.Client(base_url=desk.http.base_url, timeout=10) as http:
        while not stop.is_set():
            key = f"spend-{who}-{number}"
            number += 1
            headers = {"authorization": f"Bearer {desk.keys['service']}", "idempotency-key": key}
            try:
                answer = http.post(desk.mine("spends"), json={"amountCredits": "1"}, headers=headers)
            except httpx.HTTPError:
                return
            if answer.status_code == 201:
                with ledger.lock:
                    ledger.spent[key] = answer.json()["transaction"]["id"]


def buy_on(desk: Desk, ledger: Ledger, stop: threading.Event) -> None:
    """Buy and pay until the server is gone; whoever saw the provider's answer has paid."""
    with httpx.Client(base_url=desk.http.base_url, timeout=10) as http:
        while not stop.is_set():
            headers = {"authorization": f"Bearer {desk.keys['account']}"}
            try:
                order = http.post("/v1/billing/checkout", json={"amountUsdCents": 1_000}, headers=headers)
                if order.status_code != 201:
                    return
                started = order.json()
                if http.post(started["checkoutUrl"] + "/pay-twice").is_error:
                    return
            except httpx.HTTPError:
                return
            with ledger.lock:
                ledger.paid.append(started["purchaseId"])


def run_until_killed(directory: Path, ledger: Ledger, seconds: float) -> None:
    stop = threading.Event()
    with demo(directory, "alphio") as (desk, process), ThreadPoolExecutor(SPENDERS + BUYERS) as pool:
        for who in range(SPENDERS):
            pool.submit(spend_on, desk, who, ledger, stop)
        for _ in range(BUYERS):
            pool.submit(buy_on, desk, ledger, stop)
        threading.Event().wait(seconds)
        for _ in range(600):  # a busy machine may need longer until there is something to lose
            if len(ledger.spent) > 50 and ledger.paid:
                break
            threading.Event().wait(0.1)
        process.kill()
        process.wait()
        stop.set()


def every_row(desk: Desk) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        page = desk.call("account", "GET", f"/v1/billing/transactions?limit=100{more}").json()
        rows.extend(page["transactions"])
        cursor = page["nextCursor"]
        if cursor is None:
            return rows


def test_a_killed_server_has_kept_every_acknowledged_spend_and_credits_every_payment_once(tmp_path: Path) -> None:
    ledger = Ledger()
    run_until_killed(tmp_path, ledger, 3.0)
    assert len(ledger.spent) > 50 and ledger.paid, "the server was killed before anything happened"
    with demo(tmp_path, "alphio") as (desk, _):
        wait_for_payments(desk, ledger.paid)
        rows = every_row(desk)
        ids = [row["id"] for row in rows]
        assert len(set(ids)) == len(ids)
        assert set(ledger.spent.values()) <= set(ids)
        deposits = [row["purchaseId"] for row in rows if row["type"] == "deposit"]
        assert len(set(deposits)) == len(deposits)
        assert set(ledger.paid) <= set(deposits)
        key, transaction_id = next(iter(ledger.spent.items()))
        again = desk.call("service", "POST", desk.mine("spends"), json={"amountCredits": "1"}, key=key)
        assert again.json()["transaction"]["id"] == transaction_id
        assert again.headers["idempotency-replayed"] == "true"
    assert_books_add_up(tmp_path)


def wait_for_payments(desk: Desk, purchase_ids: list[str]) -> None:
    """What was paid before the kill lands without anybody's help once the server is back."""
    wait = threading.Event()
    for _ in range(100):
        listed = desk.call("account", "GET", "/v1/billing/payments?limit=100").json()["payments"]
        landed = {payment["id"] for payment in listed if payment["status"] == "completed"}
        if set(purchase_ids) <= landed:
            return
        wait.wait(0.3)
    missing = set(purchase_ids) - landed
    raise AssertionError(f"paid and not credited: {missing}")


def assert_books_add_up(directory: Path) -> None:
    key = (directory / "secret.key").read_text(encoding="ascii").strip()
    db = open_database(f"sqlite:///{directory / 'alphio.sqlite3'}")
    try:
        report = audit(db, Secrets((key,)).all_for("ledger chain"))
    finally:
        db.close()
    assert report.findings == []
    assert report.rows > 50
