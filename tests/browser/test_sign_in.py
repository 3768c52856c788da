"""Signing in at an OIDC provider with a real browser: from a page to the provider, back to that page, and out again."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.browser.support import PATIENCE_MS
from tests.browser.test_access import RULES
from tests.doors.provider import Provider
from tests.e2e.served import Served, environment, purser, serving


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@pytest.fixture(scope="module")
def served(provider: Provider, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server whose customers sign in at the provider; `mira` owns the account `a`."""
    folder: Path = tmp_path_factory.mktemp("served")
    env = environment(f"sqlite:///{folder / 'purser.sqlite3'}", folder, **provider.environ)
    purser(env, "db", "upgrade")
    key = json.loads(purser(env, "keys", "create", "--role", "service", "--name", "host", "--json"))["key"]
    with serving(env, {"service": key}) as running:
        told = {"accountId": "a", "email": "mira@customer.example"}
        assert running.call("service", "POST", "/v1/accounts", json=told).status_code == 201
        person = {"issuer": provider.base_url, "subject": "mira"}
        assert running.call("service", "PUT", "/v1/accounts/a/identities", json=person).status_code == 200
        yield running


@pytest.fixture
def page(chromium: Browser, served: Served) -> Iterator[Page]:
    """A fresh browser; nothing on its console may complain, but of pages that say "not signed in"."""
    context = chromium.new_context(base_url=str(served.http.base_url), bypass_csp=False)
    context.set_default_timeout(PATIENCE_MS)
    complaints: list[str] = []
    context.on("console", lambda message: complaints.append(message.text))
    yield context.new_page()
    context.close()
    assert [text for text in complaints if "status of 40" not in text] == []


def sign_in(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")
    page.get_by_label("Name").fill(name)
    page.get_by_role("button", name="Go on").click()


def test_a_customer_signs_in_uses_their_page_and_signs_out(page: Page, served: Served, provider: Provider) -> None:
    page.goto("/account/usage?days=90")
    sign_in(page, "mira")
    expect(page.get_by_role("heading", level=1)).to_have_text("Usage")
    assert page.url == f"{served.http.base_url}/account/usage?days=90"
    names = {cookie["name"] for cookie in page.context.cookies(str(served.http.base_url))}
    assert names == {"purser"}
    page.get_by_role("link", name="Settings").click()
    page.locator("#profile-name").fill("Mira Example")
    page.get_by_role("button", name="Save details").click()
    expect(page.get_by_text("Your details were saved.")).to_be_visible()
    cookies = {one["name"]: one["value"] for one in page.context.cookies()}
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out here")
    assert httpx.get(f"{served.http.base_url}/v1/billing/balance", cookies=cookies).status_code == 401
    page.get_by_role("link", name="Sign out of your sign-in provider too.").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Signed out")
    page.goto("/account/billing")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")


def test_who_goes_back_or_has_no_account_can_try_again(page: Page) -> None:
    page.goto("/account/billing")
    expect(page.get_by_role("heading", level=1)).to_have_text("Who are you?")
    page.get_by_role("button", name="Never mind").click()
    expect(page.get_by_text("The sign-in was cancelled.")).to_be_visible()
    page.get_by_role("link", name="Try again").click()
    sign_in(page, "a stranger")
    expect(page.get_by_text("this sign-in belongs to no account")).to_be_visible()
    page.get_by_role("link", name="Try again").click()
    sign_in(page, "mira")
    expect(page.get_by_role("heading", level=1)).to_have_text("Billing")


def test_an_address_that_was_copied_signs_nobody_in_elsewhere(page: Page, chromium: Browser, served: Served) -> None:
    landed: list[str] = []
    page.on("request", lambda request: landed.append(request.url))
    page.goto("/account/billing")
    sign_in(page, "mira")
    expect(page.get_by_role("heading", level=1)).to_have_text("Billing")
    (copied,) = (url for url in landed if "/account/sign-in/callback" in url)
    other = chromium.new_context()
    try:
        theirs = other.new_page()
        theirs.goto(copied)
        expect(theirs.get_by_role("heading", level=1)).to_have_text("You are not signed in")
        assert other.cookies(str(served.http.base_url)) == []
    finally:
        other.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_where_people_sign_in_and_out(chromium: Browser, served: Served, theme: str) -> None:
    context = chromium.new_context(
        base_url=str(served.http.base_url), viewport={"width": 320, "height": 800}, color_scheme=theme, bypass_csp=True
    )
    page = context.new_page()
    page.goto("/account/sign-in/callback?code=x&state=y")
    for _ in range(2):
        expect(page.locator("h1")).to_have_count(1)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.evaluate(wide) <= 0
        found = Axe().run(page, options=RULES)
        assert found.violations_count == 0, found.generate_report()
        page.goto("/account/billing")
        sign_in(page, "mira")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("You are signed out here")
    context.close()
