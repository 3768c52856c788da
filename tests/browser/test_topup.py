"""Topping up in a browser: the live quote, the payment, what the page says afterwards, with scripts and without."""

import httpx
import pytest
from playwright.sync_api import Browser, expect

from api.pages.amounts import parse_amount
from engine.rules.errors import MalformedAmount
from tests.browser.support import Customer, Demo, Window, press


def test_the_main_job_top_up_300_dollars_and_keep_the_receipt(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    expect(page).to_have_title("Top up · Alphio")
    page.get_by_label("Amount in US dollars").fill("300")
    expect(page.get_by_text("37,500 credits").first).to_be_visible()
    expect(page.get_by_text("Save 20%")).to_be_visible()
    expect(page.get_by_text("$0.008 per credit")).to_be_visible()
    page.get_by_role("button", name="Pay $300.00").click()
    page.get_by_role("button", name="Pay $300.00", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")
    expect(page.get_by_text("+37,500 credits")).to_be_visible()
    assert customer.balance() == 37_500
    page.goto("/account/billing")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download PDF").click()
    path = downloading.value.path()
    assert path.read_bytes().startswith(b"%PDF")
    assert downloading.value.suggested_filename.startswith("ALPR")
    page.goto("/account/usage")
    expect(page.locator(".figure").first).to_have_text("37,500 credits")
    expect(page.get_by_text("Credit top-up: $300.00")).to_be_visible()


def test_the_hint_appears_near_the_next_tier_only_and_fills_the_amount_in(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    amount = page.get_by_label("Amount in US dollars")
    amount.fill("200")
    expect(page.get_by_role("button", name="Pay $200.00")).to_be_enabled()
    expect(page.locator("#upsell")).to_be_hidden()
    amount.fill("290")
    hint = page.get_by_role("button", name="+$10 to unlock 8,500 extra credits")
    hint.click()
    expect(amount).to_have_value("300")
    expect(page.get_by_role("button", name="Pay $300.00")).to_be_enabled()
    expect(page.locator("#upsell")).to_be_hidden()


@pytest.mark.parametrize(
    ("typed", "said"),
    [("9.99", "The minimum is $10."), ("10000.01", "The maximum is $10,000."), ("ten", "Type an amount such as 25")],
)
def test_a_refused_amount_is_explained_beside_the_field(
    window: Window, customer: Customer, typed: str, said: str
) -> None:
    page = window.page
    page.goto(customer.link())
    page.get_by_label("Amount in US dollars").fill(typed)
    expect(page.locator("#problem")).to_contain_text(said)
    expect(page.locator("#pay button")).to_be_disabled()


AMOUNTS = ("300", "$300", " 1,250.50 ", "12,5", "1,000", "10.", "20.555", "1,00,000", "-50", "5e3", "٣٠٠", "1 000", "")


def test_script_and_server_read_the_same_amounts(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    button = page.locator("#pay button")
    for text in AMOUNTS:
        page.get_by_label("Amount in US dollars").fill("77")
        expect(button).to_have_text("Pay $77.00")
        page.get_by_label("Amount in US dollars").fill(text)
        try:
            minor = parse_amount(text, "USD").minor
        except MalformedAmount:
            expect(button).to_have_text("Pay")
        else:
            expect(button).to_have_text(f"Pay ${minor // 100:,}.{minor % 100:02d}")


def test_without_scripts_a_quote_is_asked_for_and_paid(chromium: Browser, demo: Demo, customer: Customer) -> None:
    window = Window(chromium, demo, java_script_enabled=False)
    page = window.page
    page.goto(customer.link())
    amount = page.get_by_label("Amount in US dollars")
    amount.fill("250")
    amount.press("Enter")
    expect(page.locator("#pay button")).to_have_text("Pay $250.00")
    amount.fill("290")
    page.get_by_role("button", name="Update quote").click()
    page.get_by_role("button", name="+$10 to unlock 8,500 extra credits").click()
    expect(page.get_by_text("Save 20%")).to_be_visible()
    page.get_by_role("button", name="Pay $300.00").click()
    page.get_by_role("button", name="Pay $300.00", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")
    assert customer.balance() == 37_500
    window.close()
    window.check_clean()


def test_pressing_pay_twice_buys_once(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    page.get_by_role("button", name="$20", exact=True).click()
    page.get_by_role("button", name="Pay $20.00").dblclick()
    page.wait_for_url("**/sandbox/checkout/**")
    assert len(customer.payments()) == 1


def test_one_view_of_the_page_is_one_purchase_however_often_it_is_sent(demo: Demo, customer: Customer) -> None:
    cookies = customer.cookies()
    form = {"view": "view_one", "amount_minor": "2000", "currency": "USD", "provider": "sandbox"}
    origin = {"origin": demo.base_url}
    with httpx.Client(base_url=demo.base_url, cookies=cookies, headers=origin, timeout=30) as client:
        first, second = (client.post("/top-up-credits", data=form) for _ in range(2))
        other = client.post("/top-up-credits", data=form | {"amount_minor": "3000"})
    assert (first.status_code, second.status_code) == (303, 303)
    assert first.headers["location"] == second.headers["location"]
    assert other.status_code == 422 and "Nothing was charged" in other.text
    assert len(customer.payments()) == 1


def test_the_return_page_believes_the_purchase_and_turns_by_itself(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    made = customer.checkout(2_000)
    page.goto(f"/top-up-credits/return?status=success&purchase={made['purchaseId']}")
    heading = page.get_by_role("heading", level=1)
    expect(heading).to_have_text("Waiting for the provider")
    press(made["checkoutUrl"], "pay")
    expect(heading).to_have_text("Payment received, credits added")


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("cancel", "Cancelled, no charge"),
        ("decline", "The payment did not go through"),
        ("expire", "The checkout has expired"),
        ("pay-wrong-amount", "Your payment is being checked"),
        ("pay", "Payment received, credits added"),
    ],
)
def test_every_outcome_has_its_own_words(window: Window, customer: Customer, action: str, said: str) -> None:
    window.page.goto(customer.link())
    made = customer.checkout(2_000)
    press(made["checkoutUrl"], action)
    window.page.goto(f"/top-up-credits/return?status=success&purchase={made['purchaseId']}")
    expect(window.page.get_by_role("heading", level=1)).to_have_text(said)


def test_another_accounts_purchase_is_not_there(demo: Demo, customer: Customer) -> None:
    foreign = demo.new_customer().checkout(2_000)["purchaseId"]
    cookies = customer.cookies()
    for path in (
        f"/top-up-credits/return?purchase={foreign}",
        f"/top-up-credits/return/status?purchase={foreign}",
        f"/top-up-credits/leave/{foreign}",
    ):
        assert httpx.get(f"{demo.base_url}{path}", cookies=cookies).status_code == 404


def test_a_plan_without_top_ups_meets_the_paywall(window: Window, demo: Demo) -> None:
    page = window.page
    page.goto(demo.new_customer(plan=None).link())
    expect(page.get_by_role("heading", level=1)).to_have_text("Top-ups come with Base")
    page.get_by_role("link", name="See the plans").click()
    expect(page.locator(".plans h2")).to_have_text(["Free Your plan", "Base", "Pro", "Elite"])


def test_dollars_are_shown_where_the_catalogue_says_so(chromium: Browser, ecolink: Demo) -> None:
    window = Window(chromium, ecolink)
    page = window.page
    page.goto(ecolink.portal_url)
    page.get_by_label("Amount in US dollars").fill("12.34")
    expect(page.locator('[data-fact="receive"]')).to_have_text("$12.34")
    expect(page.locator('[data-row="price"]')).to_be_hidden()
    page.goto("/account/usage")
    expect(page.locator(".figure").first).to_contain_text("$")
    window.close()
    window.check_clean()
