"""Signing in at the OIDC issuer: a browser gets the session of whom the issuer names, and forged answers get none."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.auth import create_key
from api.environ import SettingsError
from api.pages import page_handlers
from api.settings import read_settings
from receipts.render import Renderer
from tests.api.host import BASE_URL, SECRET, Host, assert_problem, new_app, new_runtime
from tests.doors.provider import CLIENT_ID, Provider, fields_of
from tests.doors.test_oidc import bind

COOKIE = "purser"
ATTEMPT = "purser-sign-in"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as made:
        yield made


@dataclass
class Browser:
    """One browser in front of a host's pages, whose customers the provider signs in; `mira` owns account `a`."""

    host: Host
    provider: Provider

    @property
    def http(self) -> "TestClient":  # type: ignore[type-arg]
        return self.host.client

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.http.get(path, headers=headers, follow_redirects=False)

    def post(self, path: str, **form: str) -> httpx.Response:
        """A form of one of our own pages."""
        headers = {"Origin": BASE_URL, "Content-Type": "application/x-www-form-urlencoded"}
        return self.http.post(path, content=urlencode(form), headers=headers, follow_redirects=False)

    def leave_for(self, path: str = "/account/billing") -> str:
        """Open a page without a session; where the browser is sent in the end."""
        first = self.get(path)
        assert first.status_code == 303, first.text
        second = self.get(first.headers["location"])
        assert second.status_code == 303, second.text
        return str(second.headers["location"])

    def answer_of(self, url: str, login: str = "mira", act: str = "allow") -> str:
        """What the provider sends the browser back with: a path of ours."""
        answer = httpx.post(url, data={"login": login, "act": act})
        assert answer.status_code == 303, answer.text
        parts = urlsplit(answer.headers["location"])
        assert f"{parts.scheme}://{parts.netloc}" == BASE_URL
        return f"{parts.path}?{parts.query}"

    def signed_in(self, login: str = "mira", path: str = "/account/billing") -> httpx.Response:
        return self.get(self.answer_of(self.leave_for(path), login))


@pytest.fixture
def browser(host: Host, provider: Provider) -> Iterator[Browser]:
    with Renderer() as renderer:
        settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL} | provider.environ)
        app = create_app(host.runtime, settings, page_handlers(renderer))
        with TestClient(app, base_url=BASE_URL) as client:
            made = replace(host, client=client, site=app.state["site"])
            made.open("a")
            made.open("b")
            assert bind(made, "a", provider, "mira").status_code == 200
            yield Browser(made, provider)


def test_a_page_without_a_session_leads_through_the_issuer_and_back_to_itself(browser: Browser) -> None:
    url = browser.leave_for("/account/usage?days=90&type=debit")
    asked = fields_of(urlsplit(url).query)
    assert url.startswith(f"{browser.provider.base_url}/authorize?tenant=a&")
    assert asked["redirect_uri"] == f"{BASE_URL}/account/sign-in/callback" and asked["client_id"] == CLIENT_ID
    assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3
    assert all(len(asked[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    answer = browser.get(browser.answer_of(url))
    assert (answer.status_code, answer.headers["location"]) == (303, "/account/usage?days=90&type=debit")
    session, gone = answer.headers.get_list("set-cookie")
    for part in ("HttpOnly", "SameSite=lax", "Path=/", "Max-Age=43200"):
        assert part in session
    assert gone.startswith(f'{ATTEMPT}=""') and "Max-Age=0" in gone
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"] == "no-store"
    assert browser.get("/account/billing").status_code == 200
    own = browser.http.get("/v1/billing/balance")
    assert own.json() == browser.host.balance("/v1/accounts/a")
    assert browser.http.get("/v1/accounts/b/balance").status_code == 404


def test_the_ledger_names_the_person_and_not_the_browser(browser: Browser) -> None:
    identity = browser.host.get("/v1/accounts/a/identities").json()["identities"][0]["id"]
    browser.signed_in()
    made = browser.http.post("/v1/billing/coupons/redeem", json={"code": "WELCOME100"}, headers={"Origin": BASE_URL})
    assert made.status_code == 201, made.text
    found = browser.host.get("/v1/support/accounts/a/timeline", bearer=browser.host.new_key("support"))
    assert f"owner:{identity}" in found.text


def test_a_session_ends_when_the_host_unbinds_the_person_or_changes_what_they_are(browser: Browser) -> None:
    host, provider = browser.host, browser.provider
    browser.signed_in()
    bind(host, "a", provider, "mira", "member")
    assert browser.get("/account/billing").status_code == 303
    assert browser.signed_in().status_code == 303
    page = browser.get("/account/settings")
    assert page.status_code == 200 and "Save limits" not in page.text
    refused = browser.post("/account/settings/limits")
    assert refused.status_code == 403
    (person,) = host.get("/v1/accounts/a/identities").json()["identities"]
    headers = {"Authorization": f"Bearer {host.service_key}"}
    host.client.delete(f"/v1/accounts/a/identities/{person['id']}", headers=headers)
    assert browser.get("/account/billing").status_code == 303
    bind(host, "b", provider, "mira")
    assert browser.get("/account/billing").status_code == 303


def test_signing_out_ends_the_session_and_offers_to_leave_the_issuer_too(browser: Browser) -> None:
    browser.signed_in()
    kept = {COOKIE: browser.http.cookies[COOKIE]}
    page = browser.post("/account/sign-out")
    assert page.status_code == 200 and "Sign in to see your credits." in page.text
    leave = f"{browser.provider.base_url}/leave?{urlencode({'client_id': CLIENT_ID})}"
    assert f'href="{leave}"' in page.text
    assert browser.http.get("/v1/billing/balance", headers={"Cookie": f"{COOKIE}={kept[COOKIE]}"}).status_code == 401


def test_only_a_person_on_their_way_to_a_page_is_sent_to_sign_in(browser: Browser) -> None:
    path = "/top-up-credits/return/status?purchase=pay_x"
    assert browser.get(path, **{"Sec-Fetch-Mode": "cors"}).status_code == 401
    assert browser.get("/account/billing", Authorization="Bearer nonsense").status_code == 401
    assert browser.post("/account/settings/limits").status_code == 401
    assert browser.get("/support").status_code == 401
    assert browser.get("/v1/billing/balance").status_code == 401
    assert browser.get("/account/billing", **{"Sec-Fetch-Mode": "navigate"}).status_code == 303


@pytest.mark.parametrize(
    "wished",
    [
        "https://evil.example/", "//evil.example/", "/\\evil.example", "/account/../../x\r\nSet-Cookie: a=b", "account",
        "/v1/billing/balance", "/support", "/portal/x", "/account/sign-in?returnTo=/account/usage", "",
    ],
)  # fmt: skip
def test_the_way_back_leads_to_customers_pages_only(browser: Browser, wished: str) -> None:
    start = browser.get(f"/account/sign-in?{urlencode({'returnTo': wished})}")
    answer = browser.get(browser.answer_of(start.headers["location"]))
    assert (answer.status_code, answer.headers["location"]) == (303, "/top-up-credits")


def test_who_belongs_to_no_account_is_told_so_and_gets_no_session(browser: Browser) -> None:
    browser.provider.claims_told = {"email": "mira@customer.example", "email_verified": True}
    answer = browser.signed_in("somebody")
    assert answer.status_code == 403 and "belongs to no account" in answer.text
    assert COOKIE not in browser.http.cookies


def test_who_changes_their_mind_is_not_signed_in(browser: Browser) -> None:
    answer = browser.get(browser.answer_of(browser.leave_for(), act="deny"))
    assert answer.status_code == 401 and "The sign-in was cancelled." in answer.text
    assert 'href="/account/sign-in?returnTo=%2Faccount%2Fbilling"' in answer.text
    assert COOKIE not in browser.http.cookies and not browser.provider.asked_token


def test_a_public_client_has_no_secret_and_another_posts_it(host: Host) -> None:
    for secret, document in ((None, {}), ("s" * 20, {"token_endpoint_auth_methods_supported": ["client_secret_post"]})):
        with Provider(secret) as provider, Renderer() as renderer:
            provider.document = document
            settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL} | provider.environ)
            app = create_app(host.runtime, settings, page_handlers(renderer))
            with TestClient(app, base_url=BASE_URL) as client:
                made = replace(host, client=client, site=app.state["site"])
                account_id = f"c{len(secret or '')}"
                made.open(account_id)
                bind(made, account_id, provider, "mira")
                assert Browser(made, provider).signed_in().headers["location"] == "/account/billing"


def test_without_a_client_pages_still_ask_for_the_hosts_link(host: Host, provider: Provider) -> None:
    environ = {name: text for name, text in provider.environ.items() if "CLIENT" not in name}
    with Renderer() as renderer:
        settings = read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": BASE_URL} | environ)
        with TestClient(create_app(host.runtime, settings, page_handlers(renderer))) as client:
            answer = client.get("/account/billing", follow_redirects=False)
            assert answer.status_code == 401 and "open with a link from" in answer.text
            assert client.get("/account/sign-in", follow_redirects=False).status_code == 404
            assert client.get("/account/sign-in/callback?code=x", follow_redirects=False).status_code == 404
    with pytest.raises(SettingsError, match="PURSER_OIDC_CLIENT_ID missing"):
        read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_OIDC_CLIENT_SECRET": "x"} | environ)
    with pytest.raises(SettingsError, match="PURSER_OIDC_ISSUER"):
        read_settings({"PURSER_SECRET_KEY": SECRET, "PURSER_OIDC_CLIENT_ID": "x"})


def test_over_https_both_cookies_are_bound_to_the_host(host: Host, provider: Provider) -> None:
    base_url = "https://wallet.example"
    runtime = new_runtime(host.runtime.db, host.clock, "alphio", base_url)
    try:
        with Renderer() as renderer:
            environ = {"PURSER_SECRET_KEY": SECRET, "PURSER_BASE_URL": base_url} | provider.environ
            app = create_app(runtime, read_settings(environ), page_handlers(renderer))
            with TestClient(app, base_url=base_url) as client:
                answer = client.get("/account/sign-in", follow_redirects=False)
        cookie = answer.headers["set-cookie"]
        assert cookie.startswith(f"__Host-{ATTEMPT}=")
        assert "Secure" in cookie and "HttpOnly" in cookie and "Max-Age=600" in cookie and "Domain" not in cookie
        assert fields_of(urlsplit(answer.headers["location"]).query)["redirect_uri"].startswith(base_url)
    finally:
        runtime.group.close()


def test_a_wrong_link_counts_as_a_failed_try_of_its_address(host: Host) -> None:
    host.open("a")
    with TestClient(new_app(host.runtime, (), {"PURSER_RATE_LIMIT_FAILURES": "2"})) as client:
        good = [host.post("/v1/accounts/a/portal-sessions").json()["url"].removeprefix(BASE_URL) for _ in range(3)]
        for url in good[:2]:
            assert client.get(url, follow_redirects=False).status_code == 303
        assert [client.get(url, follow_redirects=False).status_code for url in good[:2]] == [410, 410]
        refused = client.get(good[2], follow_redirects=False)
        assert int(refused.headers["retry-after"]) > 0
        assert_problem(refused, 429, "RATE-001")


def test_a_key_that_is_narrowed_opens_a_session_that_is(browser: Browser) -> None:
    """A staff key without the desk among its scopes opens none; what a session may is what its key may."""
    host = browser.host
    key = create_key(host.runtime, "approver", "Ada", scopes=("read",))
    assert browser.post("/support/sign-in", key=key).status_code == 401
    narrow = create_key(host.runtime, "approver", "Ada", scopes=("read", "support"))
    assert (
        browser.post("/support/sign-in", key=narrow).status_code == 303 and browser.get("/support").status_code == 200
    )
    assert browser.post("/support/reversals/rev_x/approve").status_code == 403
