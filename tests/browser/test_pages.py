"""What holds on every page: it fits, it is safe, it can be used by keyboard, and a stranger sees nothing."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.support import Customer, Demo, Window

OWN_PAGES = (
    "/top-up-credits",
    "/top-up-credits?amount=290",
    "/top-up-credits?amount=1",
    "/account/usage",
    "/account/usage?days=90&type=debit",
    "/account/billing",
    "/account/subscribe",
    "/account/subscribe?interval=year",
    "/account/settings",
)
STAFF_PAGES = (
    "/support",
    "/support?q=mira@customer.example",
    "/support?q=nobody",
    "/support/queues/approvals",
    "/support/queues/quarantined",
    "/support/queues/unclaimed",
    "/support/queues/review",
)


@pytest.mark.parametrize("width", [320, 1280])
def test_no_page_scrolls_sideways(chromium: Browser, demo: Demo, width: int) -> None:
    window = Window(chromium, demo, viewport={"width": width, "height": 800})
    seeded = Customer(demo, demo.account_id)
    window.page.goto(seeded.link())
    purchase_id = seeded.checkout(2_000)["purchaseId"]
    for path in (*OWN_PAGES, f"/top-up-credits/return?purchase={purchase_id}"):
        window.page.goto(path)
        assert window.overflow() <= 0, path
        assert window.page.locator("h1").count() == 1, path
    sign_in(window, demo.support_key)
    account = f"/support/accounts/{demo.account_id}"
    for path in (*STAFF_PAGES, account, f"{account}/timeline", f"/support/purchases/{purchase_id}"):
        window.page.goto(path)
        assert window.overflow() <= 0, path
        assert window.page.locator("h1").count() == 1, path
    window.close()
    assert [c for c in window.complaints if "status of 401" not in c] == []


def test_a_stranger_is_told_where_to_come_from(demo: Demo) -> None:
    for path in OWN_PAGES:
        answer = httpx.get(f"{demo.base_url}{path}")
        assert answer.status_code == 401
        assert "open with a link from Alphio" in answer.text
    for path in STAFF_PAGES:
        answer = httpx.get(f"{demo.base_url}{path}")
        assert answer.status_code == 401
        assert "Your staff key" in answer.text


def test_a_path_that_is_not_there_is_a_page_for_people_and_a_problem_for_programs(demo: Demo) -> None:
    person = {"accept": "text/html,*/*", "accept-language": "de-DE,de;q=0.9"}
    page = httpx.get(f"{demo.base_url}/account/nowhere", headers=person)
    assert page.status_code == 404 and '<html lang="de"' in page.text and "default-src 'none'" in str(page.headers)
    used = httpx.get(f"{demo.base_url}/portal/{'A' * 43}", headers=person)
    assert used.status_code == 410 and "Dieser Link wurde benutzt" in used.text
    assert used.headers["referrer-policy"] == "no-referrer" and "set-cookie" not in used.headers
    for path, headers in (("/account/nowhere", {}), ("/v1/nowhere", person), ("/webhooks/nowhere", person)):
        problem = httpx.get(f"{demo.base_url}{path}", headers=headers)
        assert problem.status_code in (404, 405), path
        assert problem.headers["content-type"] == "application/problem+json"


def test_a_customer_may_not_use_the_desk_and_staff_may_not_use_a_wallet(demo: Demo, customer: Customer) -> None:
    answer = httpx.get(f"{demo.base_url}/support", cookies=customer.cookies())
    assert answer.status_code == 401
    key = {"authorization": f"Bearer {demo.support_key}"}
    assert httpx.get(f"{demo.base_url}/account/usage", headers=key).status_code == 403


def test_another_sites_form_changes_nothing(demo: Demo, customer: Customer) -> None:
    form = {"view": "view_two", "amount_minor": "2000", "currency": "USD", "provider": "sandbox"}
    for headers in ({}, {"origin": "http://127.0.0.1:1"}, {"referer": "http://localhost/x"}):
        answer = httpx.post(f"{demo.base_url}/top-up-credits", data=form, cookies=customer.cookies(), headers=headers)
        assert answer.status_code == 403
    assert customer.payments() == []


def test_every_answer_carries_the_strict_headers(demo: Demo, customer: Customer) -> None:
    cookies = customer.cookies()
    for path in (*OWN_PAGES, "/top-up-credits/return?purchase=pay_none", "/account/billing?page=x"):
        headers = httpx.get(f"{demo.base_url}{path}", cookies=cookies).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "same-origin"


def test_static_files_are_kept_for_good_under_their_own_hash_only(demo: Demo, customer: Customer) -> None:
    text = httpx.get(f"{demo.base_url}/top-up-credits", cookies=customer.cookies()).text
    paths = re.findall(r'"(/static/[^"]+)"', text)
    assert len(paths) == 3
    for path in paths:
        answer = httpx.get(f"{demo.base_url}{path}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        stem, _, ending = path.rpartition(".")
        assert httpx.get(f"{demo.base_url}{stem[:-1]}x.{ending}").status_code == 404


def test_the_keyboard_alone_tops_up(window: Window, customer: Customer) -> None:
    page = window.page
    page.goto(customer.link())
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(4):
        page.keyboard.press("Tab")
    expect(page.get_by_label("Amount in US dollars")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("50")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Pay $50.00")).to_be_enabled()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pay $50.00")).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sandbox/checkout/**")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Pay $50.00", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")
    assert customer.balance() == 5_000


def test_signing_out_ends_the_session_everywhere(window: Window, customer: Customer, demo: Demo) -> None:
    page = window.page
    page.goto(customer.link("/account/billing"))
    expect(page.get_by_text("No payments yet.")).to_be_visible()
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out here")
    assert httpx.get(f"{demo.base_url}/account/usage", cookies=cookies).status_code == 401


def test_the_ledger_is_paged_and_filtered(window: Window, demo: Demo) -> None:
    page = window.page
    page.goto(Customer(demo, demo.account_id).link("/account/usage"))
    rows = page.locator("table.ledger tbody tr")
    expect(rows).to_have_count(25)
    first = rows.first.inner_text()
    page.get_by_role("link", name="Older").click()
    expect(page.get_by_role("link", name="Newest")).to_be_visible()
    assert rows.first.inner_text() != first
    page.get_by_label("Type").select_option("deposit")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("table.ledger tbody strong").first).to_have_text("Top-up")
    assert set(page.locator("table.ledger tbody strong").all_inner_texts()) == {"Top-up"}


def sign_in(window: Window, key: str) -> None:
    """At the support desk, with a staff key."""
    page = window.page
    page.context.clear_cookies()
    page.goto("/support")
    page.get_by_label("Your staff key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Support desk")
    window.complaints = [c for c in window.complaints if "status of 401" not in c]
