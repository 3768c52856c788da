"""Coupons on purchases over HTTP: quotes, checkouts with and without a token, and every code."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone

import msgspec
import pytest
from httpx import Response
from litestar.testing import TestClient

from api.app import create_app
from api.pages import topup
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Page, page_route
from api.pages.render import Templates
from engine.rules.catalog import Coupon
from tests.api.host import BASE_URL, Host, assert_problem, new_app
from tests.api.test_portal import session_of
from tests.flows.world import BookProvider

ENDS = datetime(2026, 11, 3, tzinfo=timezone.utc)
COUPONS = (
    Coupon(code="TOPUP20", description="20% more on a top-up", percent=20),
    Coupon(code="ONE", description="For one", percent=50, max_redemptions=1),
    Coupon(code="EARLY", description="Early", percent=5, ends_at=ENDS),
    Coupon(code="ALPS", description="For the Alps", percent=5, countries=("AT", "CH")),
    Coupon(code="GIFT", description="A gift", credits=5, bucket="recharge"),
)


@pytest.fixture
def catalog() -> str:
    return "acn"


@pytest.fixture
def shop(host: Host) -> Iterator[Host]:
    """acn with coupons for purchases of every kind."""
    catalog = msgspec.structs.replace(host.runtime.catalog, coupons=COUPONS)
    runtime = replace(host.runtime, catalog=catalog, providers={"stripe": BookProvider()})
    app = new_app(runtime)
    with TestClient(app) as client:
        yield Host(client, runtime, app.state["site"], host.clock, host.service_key)


@pytest.fixture
def paged(shop: Host) -> Iterator[Host]:
    """The same shop, with the top-up page beside the API."""
    templates = Templates(assets := read_assets())
    pages = (
        Page(method="GET", path=topup.PATH, reader="customer", may="buy", handler=topup.show),
        Page(method="POST", path=topup.PATH, reader="customer", may="buy", handler=topup.pay),
    )
    routes = [asset_handler(assets), *(page_route(each, templates) for each in pages)]
    with TestClient(create_app(shop.runtime, shop.site.settings, routes)) as client:
        yield replace(shop, client=client)


def ask(shop: Host, path: str, code: str | None, **more: object) -> Response:
    return shop.get(f"{path}/quote", **({"amountUsdCents": 10_000} | more | ({"coupon": code} if code else {})))


def buy(shop: Host, path: str, code: str | None, **more: object) -> Response:
    return shop.post(f"{path}/checkout", {"amountUsdCents": 10_000} | more | ({"coupon": code} if code else {}))


@pytest.mark.parametrize("path_of", ["/v1/accounts/a", "/v1/billing"])
def test_a_quote_tells_what_the_coupon_adds_beside_the_bonus(shop: Host, path_of: str) -> None:
    shop.open("a")
    bearer = shop.new_key("account", "a") if path_of == "/v1/billing" else None
    told = shop.get(f"{path_of}/quote", bearer, amountUsdCents=10_000, coupon=" topup20 ").json()
    names = ("credits", "baseCredits", "bonusCredits", "couponCredits", "coupon", "balanceAfter", "savePercent")
    assert {name: told[name] for name in names} == {
        "credits": "125000000",
        "baseCredits": "100000000",
        "bonusCredits": "5000000",
        "couponCredits": "20000000",
        "coupon": {"code": "TOPUP20", "description": "20% more on a top-up", "percent": 20},
        "balanceAfter": "125000000",
        "savePercent": "20.00",
    }
    plain = ask(shop, "/v1/accounts/a", None).json()
    assert (plain["credits"], plain["couponCredits"], plain["coupon"]) == ("105000000", "0", None)


def test_a_checkout_grants_what_it_says_with_a_token_and_without(shop: Host) -> None:
    one, two = shop.open("a"), shop.open("b")
    assert buy(shop, one, "TOPUP20").json()["creditsToReceive"] == "125000000"
    token = ask(shop, two, "TOPUP20").json()["quoteToken"]
    for code in (None, "ONE", "NOSUCH"):
        assert_problem(buy(shop, two, code, quoteToken=token), 400, "ACN-QUOTE-001")
    assert_problem(
        buy(shop, two, "TOPUP20", quoteToken=ask(shop, two, None).json()["quoteToken"]), 400, "ACN-QUOTE-001"
    )
    assert buy(shop, two, "topup20", quoteToken=token).json()["creditsToReceive"] == "125000000"


@pytest.mark.parametrize("act", [ask, buy])
def test_every_code_says_why(shop: Host, act: object) -> None:
    path = shop.open("a")
    assert callable(act)
    assert_problem(act(shop, path, "NOSUCH"), 404, "ACN-COUPON-001")
    assert_problem(act(shop, path, "GIFT"), 403, "ACN-COUPON-004", term="redemption")
    assert_problem(act(shop, path, "ALPS"), 403, "ACN-COUPON-004", term="country")
    assert_problem(act(shop, path, "TOPUP20", amountUsdCents=1), 400, "ACN-BILLING-001")
    assert buy(shop, shop.open("b"), "ONE").status_code == 201
    assert_problem(act(shop, path, "ONE"), 409, "ACN-COUPON-005")
    shop.clock.advance(ENDS - shop.clock.now())
    assert_problem(act(shop, path, "EARLY"), 410, "ACN-COUPON-003", endedAt="2026-11-03T00:00:00Z")


def test_redeeming_it_says_that_it_is_for_a_purchase(shop: Host) -> None:
    path = shop.open("a")
    assert_problem(shop.post(f"{path}/coupons/redeem", {"code": "TOPUP20"}), 403, "ACN-COUPON-004", term="purchase")


def test_an_open_checkout_can_still_be_quoted_and_the_refusal_of_another_says_where_it_is(shop: Host) -> None:
    path = shop.open("a")
    first = buy(shop, path, "ONE").json()
    assert ask(shop, path, "ONE").status_code == 200
    told = assert_problem(buy(shop, path, "ONE"), 409, "ACN-COUPON-002", purchaseId=first["purchaseId"])
    assert told["checkoutUrl"] == first["checkoutUrl"] and told["endsAt"] == first["expiresAt"]


def test_guesses_at_quotes_and_checkouts_count_with_those_at_redeeming(shop: Host) -> None:
    path = shop.open("a")
    for number in range(6):
        assert_problem(ask(shop, path, f"GUESS{number}"), 404, "ACN-COUPON-001")
        assert_problem(buy(shop, path, f"TRY{number}"), 404, "ACN-COUPON-001")
        assert_problem(shop.post(f"{path}/coupons/redeem", {"code": f"X{number}"}), 404, "ACN-COUPON-001")
    with ThreadPoolExecutor(8) as pool:
        ends = sorted(pool.map(lambda number: ask(shop, path, f"LAST{number}").status_code, range(8)))
    assert ends == [404, 404, *[429] * 6]
    for code in ("TOPUP20", "NOSUCH"):
        assert_problem(ask(shop, path, code), 429, "ACN-RATE-001")
        assert_problem(buy(shop, path, code), 429, "ACN-RATE-001")
    assert ask(shop, path, None).status_code == 200
    assert ask(shop, shop.open("b"), "TOPUP20").status_code == 200


def test_an_unknown_account_has_no_quote_with_a_coupon_either(shop: Host) -> None:
    assert_problem(ask(shop, "/v1/accounts/nobody", "TOPUP20"), 404, "ACN-NOT-FOUND")
    assert_problem(buy(shop, "/v1/accounts/nobody", "TOPUP20"), 404, "ACN-NOT-FOUND")


def test_the_page_leads_to_the_open_checkout_that_has_the_coupon(paged: Host) -> None:
    first = buy(paged, paged.open("a"), "TOPUP20").json()
    headers = session_of(paged, "a") | {"Origin": BASE_URL}
    form = {"view": "view_one", "amount_minor": "10000", "currency": "USD", "provider": "stripe", "coupon": "topup20"}
    refused = paged.client.post("/top-up-credits", data=form, headers=headers, follow_redirects=False)
    assert refused.status_code == 409, refused.text
    assert f'<a href="/top-up-credits/leave/{first["purchaseId"]}">Go to the open checkout</a>' in refused.text
    assert 'value="topup20"' in refused.text and "Coupon included" in refused.text
    shown = paged.client.get("/top-up-credits?amount=100&coupon=ONE", headers=session_of(paged, "a"))
    assert '<dd data-fact="coupon">50,000,000 credits</dd>' in shown.text
