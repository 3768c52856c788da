"""A customer asks for an invoice on `/account/billing`: for the company of their details, in place of the receipt."""

import httpx
from playwright.sync_api import expect

from tests.browser.support import Customer, Demo, Window

COMPANY = {
    "company": "Beispiel GmbH",
    "address": {"line1": "Hauptstr. 1", "postalCode": "10115", "city": "Berlin", "country": "DE"},
}


def test_a_receipt_becomes_the_companys_invoice_with_its_order_number(
    window: Window, demo: Demo, customer: Customer
) -> None:
    page = window.page
    customer.bought(2_000)
    page.goto(customer.link("/account/billing"))
    row = page.locator("tbody tr").first
    row.locator("summary").click()
    row.get_by_role("link", name="Change your details").click()
    expect(page.get_by_role("heading", name="Your details")).to_be_visible()
    demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", COMPANY)
    page.goto("/account/billing")
    row.locator("summary").click()
    expect(row.get_by_text("It is made out to Beispiel GmbH.")).to_be_visible()
    row.get_by_label("Your purchase order number, if there is one").fill("PO-77")
    row.get_by_role("button", name="Make the invoice").click()
    expect(page.get_by_text("Your invoice is ready below.")).to_be_visible()
    kinds = [text.split(" ALP")[0] for text in row.locator(".soft.block[id]").all_inner_texts()]
    assert sorted(kinds) == ["Credit note", "Invoice", "Receipt"]
    with page.expect_download() as downloading:
        row.locator("div", has_text="Invoice").get_by_role("link", name="Download PDF").last.click()
    assert downloading.value.suggested_filename.startswith("ALPI")
    expect(page.get_by_role("region", name="Company details")).to_contain_text("Beispiel GmbH")
    expect(row.locator("summary")).to_contain_text("Correct this invoice…")
    assert row.locator("summary").count() == 1, "what was replaced is not replaced again"
    assert customer.balance() == 2_000


def test_why_there_is_no_invoice_is_said_on_the_page(demo: Demo, customer: Customer) -> None:
    customer.bought(2_000)
    path = f"/v1/accounts/{customer.account_id}/receipts"
    (receipt,) = demo.call("GET", path)["receipts"]
    origin = {"origin": demo.base_url, "content-type": "application/x-www-form-urlencoded"}
    with httpx.Client(base_url=demo.base_url, cookies=customer.cookies(), headers=origin) as client:
        ask = f"/account/billing/receipts/{receipt['id']}/invoice"
        refused = client.post(ask, content="purchase_order=")
        assert refused.status_code == 400
        assert "An invoice needs a company&#39;s name, billing address and country" in refused.text
        demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", COMPANY)
        long = client.post(ask, content=f"purchase_order={'x' * 201}")
        assert long.status_code == 400 and "No invoice was made." in long.text
        assert client.post(ask, content="purchase_order=A%2F1").status_code == 303
        assert client.post(ask, content="purchase_order=A%2F1").status_code == 303
    assert len(demo.call("GET", path)["receipts"]) == 3, "asked for twice, made once"
