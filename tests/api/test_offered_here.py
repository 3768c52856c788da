"""Where no provider is offered: what a country rules out is told for good, what is not set up is told to come again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest
from litestar.testing import TestClient
from msgspec.structs import replace as with_fields

from api.app import create_app
from api.pages import topup
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Page, page_route
from api.pages.render import Templates
from engine.rules.catalog import Catalog
from engine.store.database import Database
from tests.api.host import BASE_URL, Host, assert_problem
from tests.api.subscriber import subscriber
from tests.api.test_portal import session_of
from tests.engine.support import FakeClock

TOP_UP = ("checkout", {"amountUsdCents": 2_000})
SUBSCRIBE = {"plan": "pro", "interval": "month"}
ASKED = [TOP_UP, ("subscription/preview", SUBSCRIBE), ("subscription/change", SUBSCRIBE)]


def only_in_germany(catalog: Catalog) -> Catalog:
    rails = tuple(with_fields(rail, regions=("DE",)) for rail in catalog.providers)
    return with_fields(catalog, providers=rails)


@pytest.fixture
def host(db: Database, clock: FakeClock) -> Iterator[Host]:
    """alphio with the sandbox, which is offered in one country."""
    made = subscriber(db, clock, only_in_germany)
    yield made.host
    made.runtime.group.close()


def live_in(host: Host, path: str, country: str) -> None:
    answer = host.client.put(f"{path}/profile", json={"country": country}, headers=host._headers(None))
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(("resource", "body"), ASKED)
def test_a_country_without_a_provider_is_refused_for_good(host: Host, resource: str, body: dict[str, object]) -> None:
    path = host.open("a", plan="pro" if resource == "checkout" else None)
    live_in(host, path, "FR")
    refused = host.post(f"{path}/{resource}", body)
    assert_problem(refused, 400, "INVALID", field="provider")
    assert "is offered for this country" in refused.json()["detail"] and "retry-after" not in refused.headers
    assert_problem(host.post(f"{path}/{resource}", body | {"provider": "sandbox"}), 400, "INVALID", field="provider")
    live_in(host, path, "DE")
    assert host.post(f"{path}/{resource}", body).status_code in (200, 201)


@pytest.mark.parametrize(("resource", "body"), ASKED)
def test_a_service_without_any_provider_says_come_again(host: Host, resource: str, body: dict[str, object]) -> None:
    path = host.open("a", plan="pro" if resource == "checkout" else None)
    live_in(host, path, "DE")
    cast(dict[str, Any], host.runtime.providers).clear()
    refused = host.post(f"{path}/{resource}", body)
    assert_problem(refused, 503, "UNAVAILABLE")
    assert "is configured" in refused.json()["detail"] and refused.headers["retry-after"]


def test_the_page_says_so_instead_of_a_button(host: Host) -> None:
    path = host.open("a", plan="pro")
    live_in(host, path, "FR")
    templates = Templates(assets := read_assets())
    pages = (
        Page(method="GET", path=topup.PATH, reader="customer", may="buy", handler=topup.show),
        Page(method="POST", path=topup.PATH, reader="customer", may="buy", handler=topup.pay),
    )
    routes = [asset_handler(assets), *(page_route(each, templates) for each in pages)]
    with TestClient(create_app(host.runtime, host.site.settings, routes)) as client:
        paged = replace(host, client=client)
        browser = session_of(paged, "a") | {"Origin": BASE_URL}
        shown = client.get(topup.PATH, headers=browser)
        assert shown.status_code == 200 and 'id="pay"' not in shown.text
        assert "No payment provider is set up for where you are." in shown.text
        form = {"view": "view_one", "amount_minor": "2000", "currency": "USD"}
        refused = client.post(topup.PATH, data=form, headers=browser, follow_redirects=False)
        assert refused.status_code == 400
        assert "No payment provider is offered for this country." in refused.text
