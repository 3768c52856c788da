"""The main jobs of the host's developer and of finance, where a browser meets them; the customer's and support's have
files of their own (`test_topup.py`, `test_desk.py`), and the quickstart is followed in `tests/docs/test_pages.py`."""

import csv
import io
from datetime import datetime, timezone

import httpx
from playwright.sync_api import expect

from tests.browser.support import Customer, Demo, Window
from tests.browser.test_pages import sign_in


def test_a_developer_finds_the_call_and_their_customer_sees_what_it_did(
    window: Window, demo: Demo, customer: Customer
) -> None:
    page = window.page
    page.goto("/")
    page.get_by_role("link", name="The HTTP API").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("API")
    call = page.get_by_role("region", name="POST /v1/billing/spends", exact=True)
    call.scroll_into_view_if_needed()
    expect(call.get_by_text("amountCredits").first).to_be_visible()
    customer.bought(2_000)
    ask = f"/v1/accounts/{customer.account_id}/spends"
    body = {"amountCredits": "800", "description": "Chat with the assistant", "providerId": "assistant"}
    first = demo.call("POST", ask, body, "call-1")
    again = demo.call("POST", ask, body, "call-1")
    assert first["transaction"]["id"] == again["transaction"]["id"]
    page.goto(customer.link("/account/usage"))
    expect(page.locator(".figure").first).to_have_text("1,200 credits")
    row = page.locator("table.ledger tbody tr").filter(has_text="Chat with the assistant")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("−800")


def test_finance_gets_the_months_documents_and_they_add_up_to_the_payments(
    window: Window, demo: Demo, customer: Customer
) -> None:
    kept, returned = customer.bought(30_000), customer.bought(2_000)
    page = window.page
    sign_in(window, demo.support_key)
    page.goto(f"/support/purchases/{returned}")
    page.get_by_label("Reason (stands in the audit log)").fill("Bought twice")
    page.get_by_role("button", name="Reverse $20.00").click()
    expect(page.get_by_text("The credits were taken back and the refund is on its way")).to_be_visible()
    for _ in range(100):
        page.goto(f"/support/purchases/{returned}")
        if page.get_by_text("Credit note").count():
            break
        page.wait_for_timeout(100)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="ALPC").click()
    assert downloading.value.path().read_bytes().startswith(b"%PDF")
    month = datetime.now(timezone.utc).strftime("%Y-%m")
    path = f"/v1/accounts/{customer.account_id}/receipts/export"
    headers = {"authorization": f"Bearer {demo.service_key}"}
    answer = httpx.get(f"{demo.base_url}{path}", params={"month": month, "format": "csv"}, headers=headers)
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert {(row["kind"], row["orderId"]) for row in rows} == {
        ("receipt", kept), ("receipt", returned), ("credit_note", returned)
    }  # fmt: skip
    assert sum(int(row["total"].replace(".", "")) for row in rows) == 30_000, "credit notes stand below zero"
    payments = {each["id"]: (each["status"], each["amountMinor"]) for each in customer.payments()}
    assert payments == {kept: ("completed", 30_000), returned: ("refunded", 2_000)}
