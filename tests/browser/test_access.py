"""Everyone can use the pages: axe finds nothing against WCAG 2.2 AA, in both themes, on every page, in both widths."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.support import Customer, Demo, Window
from tests.browser.test_pages import OWN_PAGES, STAFF_PAGES, sign_in

RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}
DEMO_PAGES = ("/", "/demo/mailbox")


def check(page: Page, path: str) -> None:
    page.goto(path)
    page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true })")
    found = Axe().run(page, options=RULES)
    assert found.violations_count == 0, f"{path}\n{found.generate_report()}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_axe_finds_nothing_on_any_page(chromium: Browser, demo: Demo, width: int, theme: str) -> None:
    window = Window(chromium, demo, viewport={"width": width, "height": 900}, color_scheme=theme, bypass_csp=True)
    customer = Customer(demo, demo.account_id)
    for path in ("/account/usage", "/support", "/portal/used", "/nowhere"):
        check(window.page, path)
    window.page.goto(demo.new_customer(plan=None).link())
    check(window.page, "/top-up-credits")
    window.page.goto(customer.link())
    made = customer.checkout(2_000)
    purchase_id = made["purchaseId"]
    for path in (
        *OWN_PAGES,
        "/account/subscribe/preview?plan=elite&interval=month",
        f"/top-up-credits/return?purchase={purchase_id}&status=cancelled",
        f"/top-up-credits/return?purchase={purchase_id}&status=success",
        f"/top-up-credits/return?purchase={customer.bought(2_000)}",
        "/account/billing?page=77",
        "/account/billing?page=x",
        made["checkoutUrl"],
        *DEMO_PAGES,
    ):
        check(window.page, path)
    sign_in(window, demo.admin_key)
    account = f"/support/accounts/{demo.account_id}"
    for path in (*STAFF_PAGES, account, f"{account}/timeline", f"/support/purchases/{purchase_id}"):
        check(window.page, path)
    window.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_from_right_to_left_on_a_small_screen(
    chromium: Browser, demo: Demo, customer: Customer, theme: str
) -> None:
    demo.call("PUT", f"/v1/accounts/{customer.account_id}/profile", {"locale": "ar"})
    purchase_id = customer.bought(2_000)
    customer.spend(300, f"rtl-axe-{theme}")
    window = Window(chromium, demo, viewport={"width": 320, "height": 800}, color_scheme=theme, bypass_csp=True)
    window.page.goto(customer.link())
    for path in (*OWN_PAGES, f"/top-up-credits/return?purchase={purchase_id}"):
        check(window.page, path)
        assert window.page.locator("html").get_attribute("dir") == "rtl"
        assert window.overflow() <= 0, path
    window.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_cards_and_commit_plans_are_offered(
    chromium: Browser, ecolink: Demo, theme: str
) -> None:
    window = Window(chromium, ecolink, color_scheme=theme, bypass_csp=True)
    window.page.goto(Customer(ecolink, ecolink.account_id).link())
    for path in ("/top-up-credits", "/account/billing", "/account/settings", "/account/usage?days=90"):
        check(window.page, path)
    window.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_in_the_description_of_the_api(chromium: Browser, demo: Demo, theme: str) -> None:
    """The whole page is one template for each operation: its head and a dozen of them stand for all."""
    window = Window(chromium, demo, viewport={"width": 320, "height": 800}, color_scheme=theme, bypass_csp=True)
    window.page.goto("/schema")
    assert window.page.locator("main section").count() > 60
    assert window.overflow() <= 0
    window.page.evaluate("document.querySelectorAll('main section:nth-of-type(n+13)').forEach(each => each.remove())")
    found = Axe().run(window.page, options=RULES)
    assert found.violations_count == 0, found.generate_report()
    window.close()


def test_axe_does_find_what_is_wrong(chromium: Browser, demo: Demo) -> None:
    window = Window(chromium, demo)
    window.page.set_content('<html lang="en"><title>Bad</title><main><input type="text"></main></html>')
    assert Axe().run(window.page, options=RULES).violations_count == 1
    window.close()
