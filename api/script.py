"""The main job without a person: a demo of its own is started, used over HTTP as its users would, and checked.

Top up, get credits, spend them in order, get the receipt, have support take the purchase back; then the demo is
killed in the middle, started again and audited. Each line of the checklist is something that was seen.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from api.environ import SettingsError
from engine.audit import audit
from engine.catalogs import load_catalog
from engine.clock import monotonic, sleep
from engine.rules.catalog import Catalog
from engine.runtime import Secrets
from engine.store.database import open_database

WAIT_SECONDS = 20
Say = Callable[[bool, str], None]

TOP_UPS = {
    "alphio": (30_000, 37_500, [("deposit", 37_500)]),
    "acn": (50_000, 550_000_000, [("deposit", 500_000_000), ("volume_discount", 50_000_000)]),
    "ecolink": (2_500, 25_000_000, [("deposit", 25_000_000)]),
}
"""For each shipped catalogue: cents paid, credits to come, and the ledger rows that bring them."""


@dataclass(frozen=True, slots=True)
class Desk:
    """A running demo and the keys to it."""

    http: httpx.Client
    account_id: str
    keys: dict[str, str]

    def call(self, role: str, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:  # noqa: ANN401
        headers = {"authorization": f"Bearer {self.keys[role]}"}
        if key is not None:
            headers["idempotency-key"] = key
        return self.http.request(method, path, headers=headers, **more)

    def mine(self, path: str) -> str:
        return f"/v1/accounts/{self.account_id}/{path}"


def run_script(catalog_name: str, say: Say) -> bool:
    """Run the main job on a shipped catalogue; `say` hears each check, and the answer is whether all held."""
    if catalog_name not in TOP_UPS:
        raise SettingsError(f"--script knows the shipped catalogues only: {', '.join(TOP_UPS)}.")
    seen: list[bool] = []

    def check(is_so: bool, what: str) -> None:
        seen.append(is_so)
        say(is_so, what)

    catalog = load_catalog(catalog_name)
    with tempfile.TemporaryDirectory(prefix="purser-script-") as folder:
        directory = Path(folder)
        with demo(directory, catalog_name) as (desk, process):
            _doors(desk, check)
            purchase_id = _top_up(desk, catalog, check)
            _receipt(desk, check)
            _spend_in_order(desk, catalog, check)
            _reverse(desk, purchase_id, check)
            balance = desk.call("service", "GET", desk.mine("balance")).json()["balanceCredits"]
            process.kill()
            process.wait()
        with demo(directory, catalog_name) as (desk, _):
            after = desk.call("service", "GET", desk.mine("balance")).json()["balanceCredits"]
            check(after == balance, f"killed and started again: the balance is {after} as before")
        _audit(directory, catalog, check)
    return all(seen)


@contextmanager
def demo(directory: Path, catalog_name: str) -> Iterator[tuple[Desk, "subprocess.Popen[str]"]]:
    """A demo in a process of its own, from ready to ended."""
    command = [sys.executable, "-m", "api.cli", "demo", "--port", "0", "--dir", str(directory)]
    process = subprocess.Popen(  # noqa: S603 - our own command
        [*command, "--catalog", catalog_name, "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("PURSER_")},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SettingsError("The demo did not start: run `purser demo` to see why.")
        ready = json.loads(line)
        keys = {role: ready[f"{role}Key"] for role in ("account", "service", "support", "approver", "admin")}
        with httpx.Client(base_url=ready["baseUrl"], timeout=WAIT_SECONDS) as http:
            yield Desk(http, ready["accountId"], keys | {"portal": ready["portalUrl"]}), process
    finally:
        if process.stdout is not None:
            process.stdout.close()
        process.terminate()
        process.wait()


def _doors(desk: Desk, check: Say) -> None:
    is_up = desk.http.get("/healthz").status_code == 200
    check(is_up, "the server answers")
    came_in = desk.http.get(desk.keys["portal"], follow_redirects=True)
    check(came_in.status_code == 200 and "/top-up-credits" in str(came_in.url), "the customer's link opens the pages")
    again = httpx.get(desk.keys["portal"])
    check(again.status_code == 410, "the same link opens nothing a second time")


def _top_up(desk: Desk, catalog: Catalog, check: Say) -> str:
    cents, credits, rows = TOP_UPS[catalog.id]
    before = int(desk.call("account", "GET", "/v1/billing/balance").json()["balanceCredits"])
    quote = desk.call("account", "GET", f"/v1/billing/quote?amountUsdCents={cents}").json()
    badge = f", Save {quote['saveBadge']}%" if quote["saveBadge"] else ""
    check(int(quote["credits"]) == credits, f"${cents / 100:.2f} is quoted at {int(quote['credits']):,} credits{badge}")
    order = {"amountUsdCents": cents, "quoteToken": quote["quoteToken"]}
    started = desk.call("account", "POST", "/v1/billing/checkout", json=order, key="script-checkout").json()
    again = desk.call("account", "POST", "/v1/billing/checkout", json=order, key="script-checkout").json()
    check(again == started, "the same order again is the same checkout")
    desk.http.post(started["checkoutUrl"] + "/pay")
    payment = _wait_for(lambda: _payment(desk, started["purchaseId"]), "status", "completed")
    check(payment["status"] == "completed", "paid on the provider's page, and the payment is completed")
    after = int(desk.call("account", "GET", "/v1/billing/balance").json()["balanceCredits"])
    check(after - before == credits, f"{credits:,} credits landed, once")
    ledger = desk.call("account", "GET", "/v1/billing/transactions?limit=10").json()["transactions"]
    landed = [(row["type"], int(row["amountCredits"])) for row in ledger if row["purchaseId"] == started["purchaseId"]]
    check(landed[::-1] == rows, "ledger: " + ", ".join(f"{kind} {amount:,}" for kind, amount in rows))
    return str(started["purchaseId"])


def _receipt(desk: Desk, check: Say) -> None:
    listed = _wait_until(lambda: desk.call("account", "GET", "/v1/billing/receipts").json()["receipts"])
    first = desk.call("account", "GET", f"/v1/billing/receipts/{listed[0]['id']}.pdf")
    again = desk.call("account", "GET", f"/v1/billing/receipts/{listed[0]['id']}.pdf")
    is_pdf = first.status_code == 200 and first.content.startswith(b"%PDF")
    check(
        is_pdf and first.content == again.content,
        f"receipt {listed[0]['number']} is a PDF of {len(first.content):,} bytes",
    )


def _spend_in_order(desk: Desk, catalog: Catalog, check: Say) -> None:
    """200 limited-time, 5,000 monthly and 3,000 recharge credits (or all in the one bucket), less 800 or 6,000."""
    for credits, left in ((800, [0, 4_400, 3_000]), (6_000, [0, 0, 2_200])):
        path = _fill(desk, catalog, f"script-{credits}")
        spend = {"amountCredits": str(credits)}
        first = desk.call("service", "POST", f"{path}/spends", json=spend, key="spend")
        again = desk.call("service", "POST", f"{path}/spends", json=spend, key="spend")
        buckets = desk.call("service", "GET", f"{path}/balance").json()["buckets"]
        have = [int(bucket["availableCredits"]) for bucket in buckets]
        wanted = left if len(catalog.buckets) == 3 else [sum(left)]
        told = f"200 / 5,000 / 3,000 less {credits:,} leaves {' / '.join(f'{n:,}' for n in have)}"
        check(first.status_code == 201 and have == wanted, told)
        check(again.json() == first.json(), "the same spend again got the first answer and took nothing")
    too_much = {"amountCredits": "2201"}
    refused = desk.call("service", "POST", f"{path}/spends", json=too_much, key="too-much")
    code = str(refused.json().get("code"))
    check(refused.status_code == 402 and code.endswith("CREDIT-001"), f"2,201 of 2,200 is refused with {code}")


def _fill(desk: Desk, catalog: Catalog, account_id: str) -> str:
    """A new account with the three grants; its path."""
    who = {"accountId": account_id, "email": f"{account_id}@customer.example"}
    account = {**who, **({"plan": catalog.plans[-1].id} if catalog.plans else {})}
    desk.call("service", "POST", "/v1/accounts", json=account).raise_for_status()
    for bucket, credits in (("limited_time", 200), ("monthly", 5_000), ("recharge", 3_000)):
        there = bucket if bucket in catalog.buckets else "recharge"
        grant = {"bucket": there, "amountCredits": str(credits), "source": "promo"}
        path = f"/v1/accounts/{account_id}/grants"
        desk.call("service", "POST", path, json=grant, key=f"grant-{credits}").raise_for_status()
    return f"/v1/accounts/{account_id}"


def _reverse(desk: Desk, purchase_id: str, check: Say) -> None:
    before = int(desk.call("account", "GET", "/v1/billing/balance").json()["balanceCredits"])
    asked = desk.call(
        "support", "POST", f"/v1/support/purchases/{purchase_id}/reversals", json={"reason": "The customer asked."}
    ).json()
    check(asked.get("status") in ("refunding", "succeeded"), f"support reverses the purchase: {asked.get('status')}")
    payment = _wait_for(lambda: _payment(desk, purchase_id), "status", "refunded")
    check(payment["status"] == "refunded", "the provider gave the money back, the payment is refunded")
    after = int(desk.call("account", "GET", "/v1/billing/balance").json()["balanceCredits"])
    check(
        before - after == int(asked["creditsTakenBack"]), f"{asked['creditsTakenBack']} credits were taken back, once"
    )
    notes = _wait_until(
        lambda: [
            r
            for r in desk.call("account", "GET", "/v1/billing/receipts").json()["receipts"]
            if r["kind"] == "credit_note"
        ]
    )
    check(
        bool(notes), f"credit note {notes[0]['number']} for {notes[0]['originalNumber']}" if notes else "a credit note"
    )


def _audit(directory: Path, catalog: Catalog, check: Say) -> None:
    key = (directory / "secret.key").read_text(encoding="ascii").strip()
    db = open_database(f"sqlite:///{directory / f'{catalog.id}.sqlite3'}")
    try:
        report = audit(db, Secrets((key,)).all_for("ledger chain"))
    finally:
        db.close()
    found = f": {report.findings[0].where} {report.findings[0].what}" if report.findings else ""
    check(report.is_clean, f"audit: {report.rows} ledger rows of {report.wallets} wallets add up{found}")


def _payment(desk: Desk, purchase_id: str) -> dict[str, Any]:
    listed = desk.call("account", "GET", "/v1/billing/payments").json()["payments"]
    found: dict[str, Any] = next(payment for payment in listed if payment["id"] == purchase_id)
    return found


def _wait_for(read: Callable[[], dict[str, Any]], name: str, wanted: str) -> dict[str, Any]:
    """Read until a field is what is wanted, or the wait is over; the last thing read."""
    _wait_until(lambda: read()[name] == wanted)
    return read()


def _wait_until(read: Callable[[], Any]) -> Any:  # noqa: ANN401 - what `read` answers
    """Read until there is something, or the wait is over."""
    ends = monotonic() + WAIT_SECONDS
    while not (found := read()) and monotonic() < ends:
        sleep(0.1)
    return found
