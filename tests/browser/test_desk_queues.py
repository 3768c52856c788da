"""The desk's queues, refunds, corrections and timeline in a browser, by the people who decide."""

import httpx
from playwright.sync_api import expect

from tests.browser.support import Customer, Demo, Window, press
from tests.browser.test_pages import sign_in


def review(demo: Demo, customer: Customer, step: str) -> str:
    """A grant that the host wants looked at; its id."""
    body = {
        "bucket": "limited_time", "amountCredits": "75", "source": "survey", "campaign": "autumn", "step": step,
        "review": True,
    }  # fmt: skip
    made = demo.call("POST", f"/v1/accounts/{customer.account_id}/grants", body, f"review-{step}")
    return str(made["reviewId"])


def test_support_decides_a_grant_under_review(window: Window, demo: Demo, customer: Customer) -> None:
    review_id = review(demo, customer, "1")
    page = window.page
    sign_in(window, demo.support_key)
    page.get_by_role("link", name="Review").click()
    item = page.get_by_role("article").filter(has=page.locator(f"#reason-{review_id}"))
    expect(item.get_by_text("Survey")).to_be_visible()
    item.get_by_label("Reason").fill("The answers are fine")
    item.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved.")).to_be_visible()
    assert customer.balance() == 75
    page.goto(f"/support/accounts/{customer.account_id}/timeline")
    expect(page.get_by_text("Grant under review: approved")).to_be_visible()
    expect(page.get_by_text("approved by Sam Support (support)")).to_be_visible()


def test_support_gives_a_part_back_within_the_maximum_it_is_shown(
    window: Window, demo: Demo, customer: Customer
) -> None:
    purchase_id = customer.bought(2_000)
    customer.spend(500, "some")
    page = window.page
    sign_in(window, demo.support_key)
    page.goto(f"/support/purchases/{purchase_id}")
    expect(page.get_by_text("at most $15.00")).to_be_visible()
    page.get_by_label("Amount in USD").fill("15.01")
    page.get_by_label("Why it goes back").fill("Half unused")
    page.get_by_role("button", name="Give this amount back").click()
    expect(page.get_by_text("At most 1500 minor units may go back")).to_be_visible()
    window.complaints = [each for each in window.complaints if "status of 409" not in each]
    assert customer.balance() == 1_500
    page.get_by_label("Amount in USD").fill("10")
    page.get_by_role("button", name="Give this amount back").click()
    expect(page.get_by_text("the refund is on its way to the provider")).to_be_visible()
    assert customer.balance() == 500
    for _ in range(50):
        if customer.payments()[0]["status"] == "partially_refunded":
            break
        page.wait_for_timeout(100)
    page.goto(f"/support/purchases/{purchase_id}")
    with page.expect_download() as download:
        page.locator("dd").filter(has_text="Credit note").get_by_role("link").last.click()
    assert download.value.suggested_filename.endswith(".pdf")


def test_a_payment_of_another_amount_waits_until_it_is_credited(window: Window, demo: Demo, customer: Customer) -> None:
    made = customer.checkout(2_000)
    press(made["checkoutUrl"], "pay-wrong-amount")
    assert customer.payments()[0]["status"] == "review"
    page = window.page
    sign_in(window, demo.support_key)
    page.get_by_role("link", name="Quarantined").click()
    purchase_id = made["purchaseId"]
    item = page.get_by_role("article").filter(has=page.locator(f"#reason-{purchase_id}"))
    expect(item.get_by_text("agreed $20.00")).to_be_visible()
    item.get_by_label("Reason").fill("The bank took a fee")
    item.get_by_role("button", name="Credit what the order says").click()
    expect(page.get_by_text("the customer has the credits")).to_be_visible()
    assert customer.balance() == 2_000


def test_a_large_correction_is_approved_by_a_second_person(window: Window, demo: Demo, customer: Customer) -> None:
    page = window.page
    sign_in(window, demo.admin_key)
    page.goto(f"/support/accounts/{customer.account_id}")
    page.get_by_label("Credits", exact=True).fill("1,000,001")
    page.get_by_label("Reason").fill("Moved from the old system")
    page.get_by_role("button", name="Write the correction").click()
    expect(page.get_by_text("A second person must approve this correction.")).to_be_visible()
    page.goto("/support/queues/approvals")
    mine = page.get_by_role("article").filter(has_text="Moved from the old system")
    expect(mine.get_by_text("You made this proposal")).to_be_visible()
    assert customer.balance() == 0
    sign_in(window, demo.approver_key)
    item = page.get_by_role("article").filter(has_text="Moved from the old system")
    item.get_by_label("Reason").fill("Checked against the old books")
    item.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved.")).to_be_visible()
    assert customer.balance() == 1_000_001
    page.goto(f"/support/accounts/{customer.account_id}")
    assert page.get_by_role("button", name="Write the correction").count() == 0


def test_a_small_correction_is_written_at_once(window: Window, demo: Demo, customer: Customer) -> None:
    page = window.page
    sign_in(window, demo.admin_key)
    page.goto(f"/support/accounts/{customer.account_id}")
    page.get_by_label("Credits", exact=True).fill("some")
    page.get_by_label("Reason").fill("Promised on the phone")
    page.get_by_role("button", name="Write the correction").click()
    expect(page.get_by_text("Type a whole number of credits")).to_be_visible()
    window.complaints = [each for each in window.complaints if "status of 400" not in each]
    page.get_by_label("Credits", exact=True).fill("250")
    page.get_by_role("button", name="Write the correction").click()
    expect(page.get_by_text("The correction is in the ledger.")).to_be_visible()
    assert customer.balance() == 250


def test_support_alone_corrects_nothing(demo: Demo, customer: Customer) -> None:
    body = {"view": "view_x", "direction": "grant", "bucket": "recharge", "credits": "5", "reason": "why not"}
    for key in (demo.support_key, demo.approver_key):
        url = f"{demo.base_url}/support/accounts/{customer.account_id}/corrections"
        assert httpx.post(url, data=body, headers={"authorization": f"Bearer {key}"}).status_code == 403
    assert customer.balance() == 0
