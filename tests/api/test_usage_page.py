"""The usage page as a signed-in customer's browser gets it: the chart, what expires soon, and the CSV."""

import csv
import html
import io
import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from litestar.testing import TestClient

from api.app import create_app
from api.pages import ledger_file, usage
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Handler, Page, page_route
from api.pages.ledger_file import HEADER
from api.pages.render import Templates
from tests.api.host import Host
from tests.api.test_portal import session_of


@pytest.fixture
def paged(host: Host) -> Iterator[Host]:
    """The same host, with the usage page and its download beside the API."""
    assets = read_assets()
    templates = Templates(assets)

    def page(path: str, handler: Handler) -> Page:
        return Page(method="GET", path=path, reader="customer", may="read", handler=handler)

    pages = (page("/account/usage", usage.show), page("/account/usage/export", usage.download))
    routes = [asset_handler(assets), *(page_route(each, templates) for each in pages)]
    with TestClient(create_app(host.runtime, host.site.settings, routes)) as client:
        host.client = client
        yield host


def test_the_page_shows_what_was_spent_each_day_and_what_expires_soon(paged: Host) -> None:
    path = paged.open("a", plan="pro")
    paged.grant(path, "limited_time", 1_234, paged.clock.now() + timedelta(days=30))
    paged.grant(path, "recharge", 10_000)
    paged.spend(path, 34)
    paged.wait(days=1)
    paged.spend(path, 100)
    shown = paged.client.get("/account/usage?days=7", headers=session_of(paged, "a"))
    assert shown.status_code == 200, shown.text
    assert "134 credits in 7 days, at most 100 credits in one." in shown.text
    chart = shown.text.partition('class="chart"')[2].partition("</svg>")[0]
    assert chart.count('class="bucket-limited_time"') == 2 and "bucket-recharge" not in chart
    calendar = shown.text.partition('id="expiring"')[2].partition("</section>")[0]
    assert "Within each kind of credits, what expires first is spent first." in calendar
    assert "2 Dec 2026, 09:30 UTC" in calendar and "1,100" in calendar and "10,000" not in calendar


def test_the_page_has_no_calendar_where_nothing_expires_soon(paged: Host) -> None:
    path = paged.open("a", plan="pro")
    paged.grant(path, "limited_time", 10, paged.clock.now() + timedelta(days=61))
    shown = paged.client.get("/account/usage", headers=session_of(paged, "a"))
    assert shown.status_code == 200 and "Expiring soon" not in shown.text


def test_the_csv_is_downloaded_with_the_page_s_cookie_for_the_month_shown(paged: Host) -> None:
    path = paged.open("a", plan="pro")
    paged.grant(path, "recharge", 100)
    paged.spend(path, 3)
    paged.wait(days=30)
    paged.spend(path, 5, description="=1+1")
    cookie = session_of(paged, "a")

    def amounts(query: str) -> list[tuple[str, str, str]]:
        shown = paged.client.get(f"/account/usage?{query}", headers=cookie).text
        link = re.search(r'href="(/account/usage/export[^"]*)" download', shown)
        assert link is not None
        answer = paged.client.get(html.unescape(link[1]), headers=cookie)
        assert answer.headers["content-disposition"].startswith("attachment")
        header, *rows = csv.reader(io.StringIO(answer.text, newline=""))
        assert tuple(header) == HEADER
        return [(row[2], row[3], row[4]) for row in rows if row[2] in ("promo_credit", "debit")]

    granted, first, second = ("promo_credit", "100", "100"), ("debit", "-3", "97"), ("debit", "-5", "92")
    assert amounts("month=2026-11") == [granted, first]
    assert amounts("type=debit") == [first, second]
    assert amounts("month=2026-12&type=debit") == [second]
    assert amounts("days=7") == [granted, first, second]
    assert "'=1+1" in paged.client.get("/account/usage/export", headers=cookie).text


def test_a_long_ledger_is_downloaded_window_by_window(paged: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_file, "WINDOW", 2)
    path = paged.open("a", plan="pro")
    for credits in range(1, 6):
        paged.grant(path, "recharge", credits)
    answer = paged.client.get("/account/usage/export?type=promo_credit", headers=session_of(paged, "a"))
    rows = list(csv.reader(io.StringIO(answer.text, newline="")))[1:]
    assert [row[3] for row in rows] == ["1", "2", "3", "4", "5"]


def test_the_download_needs_a_session_and_a_month_that_is_shown(paged: Host) -> None:
    paged.open("a", plan="pro")
    assert paged.client.get("/account/usage/export").status_code == 401
    for query in ("month=1999-13", "type=nothing"):
        answer = paged.client.get(f"/account/usage/export?{query}", headers=session_of(paged, "a"))
        assert answer.status_code == 400


def test_lots_of_a_plan_are_named_by_it(paged: Host) -> None:
    path = paged.open("a")
    paged.grant(path, "recharge", 10)
    shown = paged.client.get("/account/usage", headers=session_of(paged, "a")).text
    lots = shown.partition('id="lots"')[2].partition("</section>")[0]
    assert "Monthly credits: Free" in lots and lots.count("Monthly credits") == 1
