"""The support desk in a browser: find a payment, reverse it, or learn why not; two people for large ones."""

import httpx
from playwright.sync_api import expect

from tests.browser.support import Customer, Demo, Window
from tests.browser.test_pages import sign_in


def test_support_finds_an_order_and_reverses_it(window: Window, demo: Demo, customer: Customer) -> None:
    purchase_id = customer.bought(30_000)
    assert customer.balance() == 37_500
    sign_in(window, demo.support_key)
    page = window.page
    page.get_by_label("Order, payment, session, transaction, receipt, e-mail or account").fill(purchase_id)
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=purchase_id).click()
    expect(page.get_by_text("23 h 5")).to_be_visible()
    page.get_by_label("Reason (stands in the audit log)").fill("Bought by mistake")
    page.get_by_role("button", name="Reverse $300.00").click()
    expect(page.get_by_text("The credits were taken back and the refund is on its way")).to_be_visible()
    assert customer.balance() == 0
    page.goto(f"/support/purchases/{purchase_id}")
    window_card = page.get_by_role("region", name="24-hour reversal")
    expect(window_card.get_by_text("REFUND-003")).to_be_visible()
    expect(page.get_by_text("Sam Support (support)")).to_be_visible()


def test_used_credits_are_named_as_the_reason(window: Window, demo: Demo, customer: Customer) -> None:
    purchase_id = customer.bought(2_000)
    customer.spend(1, "one")
    sign_in(window, demo.support_key)
    window.page.goto(f"/support/purchases/{purchase_id}")
    expect(window.page.get_by_text("Some of the purchase's credits were used.")).to_be_visible()
    expect(window.page.get_by_text("REFUND-002")).to_be_visible()
    assert window.page.get_by_label("Reason (stands in the audit log)").count() == 0


def test_a_large_reversal_needs_a_second_person(window: Window, demo: Demo, customer: Customer) -> None:
    purchase_id = customer.bought(60_000)
    page = window.page
    sign_in(window, demo.approver_key)
    page.goto(f"/support/purchases/{purchase_id}")
    page.get_by_label("Reason (stands in the audit log)").fill("Wrong account")
    page.get_by_role("button", name="Propose to reverse $600.00").click()
    expect(page.get_by_text("You made this proposal; a second person decides.")).to_be_visible()
    assert customer.balance() == 0
    sign_in(window, demo.support_key)
    page.goto(f"/support/purchases/{purchase_id}")
    expect(page.get_by_text("An approver or an admin decides.")).to_be_visible()
    sign_in(window, demo.admin_key)
    page.get_by_role("link", name=purchase_id).click()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected: the credits were given back.")).to_be_visible()
    assert customer.balance() == 75_000


def test_an_approved_reversal_sends_the_money_back(window: Window, demo: Demo, customer: Customer) -> None:
    purchase_id = customer.bought(60_000)
    page = window.page
    sign_in(window, demo.support_key)
    page.goto(f"/support/purchases/{purchase_id}")
    page.get_by_label("Reason (stands in the audit log)").fill("Never wanted it")
    page.get_by_role("button", name="Propose to reverse $600.00").click()
    sign_in(window, demo.approver_key)
    page.get_by_role("link", name=purchase_id).click()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: the refund is on its way")).to_be_visible()
    for _ in range(50):
        if customer.payments()[0]["status"] == "refunded":
            break
        page.wait_for_timeout(100)
    assert customer.payments()[0]["status"] == "refunded"
    page.goto(f"/support/purchases/{purchase_id}")
    expect(page.get_by_text("Credit note")).to_be_visible()


def test_a_reason_is_needed(demo: Demo, customer: Customer) -> None:
    purchase_id = customer.bought(2_000)
    headers = {"authorization": f"Bearer {demo.support_key}"}
    url = f"{demo.base_url}/support/purchases/{purchase_id}/reverse"
    answer = httpx.post(url, data={"view": "view_x", "reason": "  "}, headers=headers)
    assert answer.status_code == 400 and "Write a reason" in answer.text
    assert customer.balance() == 2_000


def test_a_wrong_key_opens_nothing(demo: Demo) -> None:
    for key in ("", "purser_sup_nonsense", demo.service_key, demo.account_key):
        answer = httpx.post(f"{demo.base_url}/support/sign-in", data={"key": key}, headers={"origin": demo.base_url})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers
