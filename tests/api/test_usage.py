"""Usage over HTTP: by day, by provider, with a forecast, and as CSV."""

import csv
import io
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from httpx import Response

from api.csv_text import csv_text, safe_cell
from api.usage import HEADER, export
from engine.book import post
from engine.rules.commands import Spend
from engine.store.database import transact
from tests.api.host import Host, assert_problem


def usage(host: Host, path: str, **query: Any) -> dict[str, Any]:
    answer = host.get(f"{path}/usage", **query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def rows_of(answer: Response) -> list[list[str]]:
    assert answer.status_code == 200, answer.text
    return list(csv.reader(io.StringIO(answer.text, newline="")))


@pytest.fixture
def used(host: Host) -> str:
    """30 credits on 2 November (20 on gpt, 10 on none), 50 on the 3rd, of which 5 were given back on the 4th."""
    path = host.open("a")
    host.grant(path, "recharge", 1_000)
    host.spend(path, 15, providerId="gpt", providerName="GPT")
    host.spend(path, 5, providerId="gpt")
    host.spend(path, 10)
    host.wait(days=1)
    host.spend(path, 40, providerId="claude", providerName="Claude")
    spent = host.spend(path, 10, providerId="gpt", providerName="GPT 2").json()["transaction"]["id"]
    host.wait(days=1)
    assert host.post(f"{path}/spends/{spent}/reversal", {"amountCredits": "5"}).status_code == 201
    return path


@pytest.mark.parametrize("catalog", ["acn"])
def test_usage_by_day_has_every_field_of_the_contract(host: Host, used: str) -> None:
    assert usage(host, used) == {
        "summary": {
            "totalCreditsSpent": "75",
            "totalUsdcSpent": "0.000075",
            "totalCalls": 5,
            "dateRange": {"from": "2026-10-06", "to": "2026-11-04"},
        },
        "forecast": {"daysToEmpty": 86},
        "daily": [
            {
                "date": "2026-11-02",
                "creditsSpent": "30",
                "usdcSpent": "0.000030",
                "callCount": 3,
                "providerBreakdown": [
                    provider("gpt", "GPT", 20, 2),
                    provider(None, None, 10, 1),
                ],
            },
            {
                "date": "2026-11-03",
                "creditsSpent": "45",
                "usdcSpent": "0.000045",
                "callCount": 2,
                "providerBreakdown": [
                    provider("claude", "Claude", 40, 1),
                    provider("gpt", "GPT 2", 5, 1),
                ],
            },
        ],
    }


@pytest.mark.parametrize("catalog", ["acn"])
def test_usage_by_provider_adds_the_days_up(host: Host, used: str) -> None:
    body = usage(host, used, groupBy="provider")
    assert "daily" not in body
    expected = [provider("claude", "Claude", 40, 1), provider("gpt", "GPT 2", 25, 3), provider(None, None, 10, 1)]
    assert body["providers"] == expected
    assert body["summary"]["totalCreditsSpent"] == "75"


def provider(provider_id: str | None, name: str | None, credits: int, calls: int) -> dict[str, object]:
    return {
        "providerId": provider_id,
        "providerName": name,
        "creditsSpent": str(credits),
        "usdcSpent": f"0.{credits:06d}",
        "callCount": calls,
    }


def test_a_unit_without_a_usd_value_answers_null(host: Host, used: str) -> None:
    body = usage(host, used)
    assert body["summary"]["totalUsdcSpent"] is None
    assert {day["usdcSpent"] for day in body["daily"]} == {None}


def test_both_ends_of_a_range_are_included_and_days_are_utc(host: Host, used: str) -> None:
    assert usage(host, used, **{"from": "2026-11-03", "to": "2026-11-03"})["summary"] == {
        "totalCreditsSpent": "45",
        "totalUsdcSpent": None,
        "totalCalls": 2,
        "dateRange": {"from": "2026-11-03", "to": "2026-11-03"},
    }
    assert usage(host, used, to="2026-11-02")["summary"]["totalCreditsSpent"] == "30"
    assert usage(host, used, **{"from": "2026-11-04"})["daily"] == []
    assert usage(host, used, to="9999-12-31")["daily"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"from": "20261101"}, "from"),
        ({"to": "2026-W44-7"}, "to"),
        ({"to": "2026-11-01T00:00:00Z"}, "to"),
        ({"from": "2026-11-05", "to": "2026-11-04"}, "from"),
        ({"from": "2026-11-05"}, "from"),
        ({"from": "2025-11-04", "to": "2026-11-05"}, "from"),
        ({"groupBy": "hour"}, "groupBy"),
        ({"form": "2026-11-01"}, "form"),
    ],
)
def test_a_range_that_makes_no_sense_is_refused(host: Host, used: str, query: dict[str, str], field: str) -> None:
    assert_problem(host.get(f"{used}/usage", **query), 400, "INVALID", field=field)


def test_the_longest_range_is_366_days_and_the_first_day_has_none_before_it(host: Host, used: str) -> None:
    longest = {"from": "2025-11-04", "to": "2026-11-04"}
    assert usage(host, used, **longest)["summary"]["dateRange"] == longest
    assert usage(host, used, to="0001-01-02")["summary"]["dateRange"]["from"] == "0001-01-01"


def test_usage_of_an_account_that_is_not_there_is_not_found(host: Host, used: str) -> None:
    assert_problem(host.get("/v1/accounts/nobody/usage"), 404, "NOT-FOUND")
    assert_problem(host.get("/v1/accounts/nobody/usage/export"), 404, "NOT-FOUND")
    assert usage(host, host.open("b"))["forecast"] == {"daysToEmpty": None}


def test_an_account_reads_its_own_usage_with_its_own_key(host: Host, used: str) -> None:
    key = host.new_key("account", "a")
    assert host.get("/v1/billing/usage", bearer=key).json() == usage(host, used)
    assert len(rows_of(host.get("/v1/billing/usage/export", bearer=key))) == 6


def test_the_forecast_takes_the_seven_full_days_before_today(host: Host) -> None:
    path = host.open("a", plan="pro")
    host.grant(path, "recharge", 1_000)
    host.spend(path, 100)
    assert usage(host, path)["forecast"] == {"daysToEmpty": None}, "today is not over"
    host.wait(days=7)
    assert usage(host, path)["forecast"] == {"daysToEmpty": 900 * 7 // 100}
    host.wait(days=1)
    assert usage(host, path)["forecast"] == {"daysToEmpty": None}, "eight days ago no longer counts"


def test_the_export_has_one_row_a_debit_and_the_contract_s_header(host: Host, used: str) -> None:
    spent = host.spend(
        used,
        7,
        providerId="gpt",
        capabilityId="chat",
        callId="call-1",
        outcome="success",
        description='Said "hi", twice\nand left',
    )
    answer = host.get(f"{used}/usage/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="usage.csv"'
    assert "content-length" not in answer.headers
    header, *rows = rows_of(answer)
    assert ",".join(header) == (
        "createdAt,transactionId,callId,providerId,capabilityId,creditsCharged,outcome,description"
    )
    assert [row[5] for row in rows] == ["15", "5", "10", "40", "10", "7"]
    assert rows[-1] == [
        "2026-11-04T09:30:00Z",
        spent.json()["transaction"]["id"],
        "call-1",
        "gpt",
        "chat",
        "7",
        "success",
        'Said "hi", twice\nand left',
    ]
    assert answer.text.endswith('"Said ""hi"", twice\nand left"\r\n')
    assert answer.text.count("\r\n") == 7


def test_the_export_keeps_to_its_range(host: Host, used: str) -> None:
    def charged(**query: str) -> list[str]:
        return [row[5] for row in rows_of(host.get(f"{used}/usage/export", **query))[1:]]

    assert charged(**{"from": "2026-11-03"}) == ["40", "10"]
    assert charged(**{"from": "2026-11-03", "to": "9999-12-31"}) == ["40", "10"]
    assert charged(to="2026-11-02") == ["15", "5", "10"]
    assert charged(to="2026-11-02T09:30:00Z") == []
    assert charged(**{"from": "2026-11-02", "to": "2026-11-03"}) == ["15", "5", "10", "40", "10"]
    for query in ({"from": "x"}, {"from": "2026-W44-7"}, {"from": "2026-11-03", "to": "2026-11-01"}):
        assert_problem(host.get(f"{used}/usage/export", **query), 400, "INVALID", field="from")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff20"])
def test_no_cell_starts_a_formula(host: Host, start: str) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 100)
    bad = f'{start}HYPERLINK("http://evil.example";"x")'
    sent = host.spend(path, 1, callId=bad, providerId=bad, capabilityId=bad, outcome=bad, description=bad)
    assert sent.status_code == 201, sent.text
    row = rows_of(host.get(f"{path}/usage/export"))[1]
    assert [row[place] for place in (2, 3, 4, 6, 7)] == [f"'{bad}"] * 5


def test_a_cell_that_starts_no_formula_stays_as_it_is() -> None:
    assert [safe_cell(text) for text in ("a=b", " x", "", None, "'=1")] == ["a=b", " x", "", "", "'=1"]
    assert csv_text([("a,b", 'c"d', "e\rf", 5)]) == '"a,b","c""d","e\rf",5\r\n'


def test_an_export_of_many_rows_holds_one_window_at_a_time(host: Host) -> None:
    path = host.open("a")
    host.grant(path, "recharge", 10**9)
    spend = Spend(account_id="a", actor="service", credits=1, description="A call like any other")
    for _ in range(30):
        transact(host.runtime.db, lambda session: post(session, [spend] * 1_000, host.runtime.terms, host.clock.now()))
    lines = export(host.runtime, "a", (None, None)).iterator
    assert isinstance(lines, Iterator)
    assert str(next(lines)).strip().split(",") == list(HEADER)
    rows = str(next(lines)).count("\r\n")
    tracemalloc.start()
    try:
        for part in lines:
            rows += str(part).count("\r\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 30_000
    assert peak < 6_000_000, "30,000 rows at once would take several times as much"
