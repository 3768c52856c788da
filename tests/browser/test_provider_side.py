"""The sandbox provider's own side in a browser: what is played there shows on the customer's pages."""

from playwright.sync_api import expect

from tests.browser.support import Customer, Demo, Window


def test_a_refund_in_part_and_a_dispute_are_played_by_hand_and_the_customer_sees_them(
    window: Window, demo: Demo, customer: Customer
) -> None:
    customer.bought(2_000)
    reference = customer.payments()[0]["providerReference"]
    page = window.page
    page.goto(f"{demo.base_url}/")
    page.get_by_role("link", name="The payment provider’s own side").click()
    payment = page.get_by_role("article").filter(has=page.get_by_text(reference))
    payment.get_by_label("Minor units").fill("500")
    payment.get_by_role("button", name="Refund it").click()
    expect(payment.get_by_text("refund of $5.00 succeeded")).to_be_visible()
    assert customer.payments()[0]["status"] == "partially_refunded" and customer.balance() == 1_500
    payment.get_by_role("button", name="The newest refund fails").click()
    expect(payment.get_by_text("refund of $5.00 failed")).to_be_visible()
    assert customer.payments()[0]["status"] == "completed" and customer.balance() == 2_000
    payment.get_by_role("button", name="The bank disputes it").click()
    expect(payment.get_by_role("button", name="The dispute is won")).to_be_visible()
    assert customer.payments()[0]["status"] == "disputed" and customer.balance() == 0
    payment.get_by_role("button", name="The dispute is won").click()
    expect(payment.get_by_role("button", name="The bank disputes it")).to_be_visible()
    assert customer.balance() == 2_000
