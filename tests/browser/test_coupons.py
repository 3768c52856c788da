"""A coupon on the top-up page in a browser: what it adds, what is wrong with it, and paying with it."""

from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import ready, started
from tests.browser.support import Customer, Demo, Window


@pytest.fixture(scope="module")
def acn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo of the catalogue that ships a coupon for top-ups."""
    with started("acn", tmp_path_factory.mktemp("acn")) as process:
        yield ready(process)


@pytest.fixture
def buyer(acn: Demo) -> Customer:
    return acn.new_customer(plan=None)


def open_page(chromium: Browser, acn: Demo, buyer: Customer, *, scripts: bool = True) -> tuple[Window, Page]:
    window = Window(chromium, acn, java_script_enabled=scripts)
    window.page.goto(buyer.link())
    window.page.get_by_label("Amount in US dollars").fill("50")
    return window, window.page


def pay(page: Page) -> None:
    page.get_by_role("button", name="Pay $50.00").click()
    page.get_by_role("button", name="Pay $50.00", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")


def test_a_typed_code_shows_what_it_adds_and_is_paid_with(chromium: Browser, acn: Demo, buyer: Customer) -> None:
    window, page = open_page(chromium, acn, buyer)
    expect(page.locator('[data-fact="receive"]')).to_have_text("50,000,000 credits")
    expect(page.get_by_text("Coupon included")).to_be_hidden()
    page.get_by_label("Coupon code").fill("topup20")
    expect(page.locator("#pay button")).to_be_disabled()
    page.get_by_label("Coupon code").press("Enter")
    expect(page.locator('[data-fact="receive"]')).to_have_text("60,000,000 credits")
    expect(page.locator('[data-fact="coupon"]')).to_have_text("10,000,000 credits")
    pay(page)
    assert buyer.balance() == 60_000_000
    window.close()
    window.check_clean()


def test_a_code_that_cannot_be_used_says_why_and_sells_nothing(chromium: Browser, acn: Demo, buyer: Customer) -> None:
    window, page = open_page(chromium, acn, buyer)
    code, problem = page.get_by_label("Coupon code"), page.locator("#coupon-problem")
    for typed, said in (("NOSUCH", "There is no such coupon."), ("LAUNCH50", "redeem it, and its credits are yours.")):
        code.fill(typed)
        code.blur()
        expect(problem).to_contain_text(said)
        expect(page.locator("#pay button")).to_be_disabled()
    code.fill("")
    code.blur()
    expect(problem).to_have_text("")
    expect(page.get_by_role("button", name="Pay $50.00")).to_be_enabled()
    window.close()


def test_half_a_code_and_a_code_known_to_be_wrong_are_not_asked_for(
    chromium: Browser, acn: Demo, buyer: Customer
) -> None:
    window, page = open_page(chromium, acn, buyer)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "coupon=" in request.url else None)
    code = page.get_by_label("Coupon code")
    code.press_sequentially("WRONG", delay=80)
    code.blur()
    expect(page.locator("#coupon-problem")).to_have_text("There is no such coupon.")
    for amount in ("60", "70"):
        page.get_by_label("Amount in US dollars").fill(amount)
        page.wait_for_timeout(500)
    assert [url.rpartition("coupon=")[2] for url in asked] == ["WRONG"]
    window.close()


def test_without_scripts_the_code_is_asked_for_with_the_quote(chromium: Browser, acn: Demo, buyer: Customer) -> None:
    window, page = open_page(chromium, acn, buyer, scripts=False)
    page.get_by_label("Coupon code").fill("NOSUCH")
    page.get_by_role("button", name="Update quote").click()
    expect(page.locator("#coupon-problem")).to_have_text("There is no such coupon.")
    expect(page.locator("#pay button")).to_be_disabled()
    page.get_by_label("Coupon code").fill("TOPUP20")
    page.get_by_role("button", name="Update quote").click()
    expect(page.locator('[data-fact="coupon"]')).to_have_text("10,000,000 credits")
    pay(page)
    assert buyer.balance() == 60_000_000
    window.close()
    window.check_clean()


def test_paying_anew_moves_the_coupon_and_a_wrong_one_shows_the_form_again(acn: Demo, buyer: Customer) -> None:
    cookies, path = buyer.cookies(), f"/v1/accounts/{buyer.account_id}/checkout"
    form = {"amount_minor": "5000", "currency": "USD", "provider": "sandbox", "coupon": "TOPUP20"}
    first = acn.call("POST", path, {"amountUsdCents": 5_000, "coupon": "TOPUP20"})
    with httpx.Client(base_url=acn.base_url, cookies=cookies, headers={"origin": acn.base_url}, timeout=30) as client:
        moved = client.post("/top-up-credits", data=form | {"view": "view_one"})
        refused = client.post("/top-up-credits", data=form | {"view": "view_two", "coupon": "NOSUCH"})
    assert moved.status_code == 303 and first["checkoutUrl"] not in moved.headers["location"]
    assert refused.status_code == 404 and "There is no such coupon." in refused.text
    assert [payment["status"] for payment in buyer.payments()] == ["pending", "expired"]
