"""The server killed while refunds are under way: each ends by itself after the restart, once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from api.script import Desk, demo
from tests.e2e.test_kill import assert_books_add_up

PURCHASES = 12


def bought(desk: Desk) -> str:
    """A paid purchase of $20, of which nothing is spent."""
    started = desk.call("account", "POST", "/v1/billing/checkout", json={"amountUsdCents": 2_000}).json()
    assert not desk.http.post(started["checkoutUrl"] + "/pay").is_error
    return str(started["purchaseId"])


def refund(desk: Desk, http: httpx.Client, purchase_id: str) -> str | None:
    """Ask for $7 back; the refund's id, or nothing if the server was gone before it answered."""
    headers = {"authorization": f"Bearer {desk.keys['support']}", "idempotency-key": f"refund-{purchase_id}"}
    body = {"reason": "asked by mail", "amountMinor": 700}
    try:
        answer = http.post(f"/v1/support/purchases/{purchase_id}/refunds", json=body, headers=headers)
    except httpx.HTTPError:
        return None
    return str(answer.json()["reversalId"]) if answer.status_code == 202 else None


def until_done(desk: Desk, purchase_ids: list[str]) -> None:
    """Every purchase is partly refunded, soon and without anybody's help."""
    wait = threading.Event()
    listed: dict[str, str] = {}
    for _ in range(60):
        rows = desk.call("account", "GET", "/v1/billing/payments?limit=100").json()["payments"]
        listed = {row["id"]: row["status"] for row in rows}
        if all(listed[purchase_id] == "partially_refunded" for purchase_id in purchase_ids):
            return
        wait.wait(0.3)
    raise AssertionError(f"still under way: {listed}")


def test_refunds_cut_short_by_a_kill_end_once_and_right_after_the_restart(tmp_path: Path) -> None:
    with demo(tmp_path, "alphio") as (desk, process):
        purchase_ids = [bought(desk) for _ in range(PURCHASES)]
        before = int(desk.call("service", "GET", desk.mine("balance")).json()["balanceCredits"])
        told: list[str | None] = []
        with httpx.Client(base_url=desk.http.base_url, timeout=10) as http, ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(refund, desk, http, purchase_id) for purchase_id in purchase_ids]
            for future in asked[: PURCHASES // 2]:
                told.append(future.result())
            process.kill()
            process.wait()
            told += [future.result() for future in asked[PURCHASES // 2 :]]
        known = [purchase_id for purchase_id, heard in zip(purchase_ids, told, strict=True) if heard]
        assert len(known) >= PURCHASES // 2, "the server was killed before anything happened"
    with demo(tmp_path, "alphio") as (desk, _):
        until_done(desk, known)
        again = [refund(desk, desk.http, purchase_id) for purchase_id in purchase_ids]
        assert all(again) and all(old in (None, new) for old, new in zip(told, again, strict=True))
        until_done(desk, purchase_ids)
        after = int(desk.call("service", "GET", desk.mine("balance")).json()["balanceCredits"])
        assert before - after == 700 * PURCHASES
    assert_books_add_up(tmp_path)
