"""The ledger by page and by cursor, filtered by type and time."""

from typing import Any, cast

import pytest

from tests.api.host import Host, assert_problem


@pytest.fixture
def history(host: Host) -> str:
    """Twelve rows, one an hour, from 09:30 on 2 November 2026: a grant, then eleven spends with two more grants."""
    path = host.open("a", plan="pro")
    for number in range(12):
        if number in (0, 4, 8):
            host.grant(path, "recharge", 1_000)
        else:
            host.spend(path, number, description=f"call {number}")
        host.wait(hours=1)
    return path


def listed(host: Host, path: str, **query: Any) -> dict[str, Any]:
    answer = host.get(f"{path}/transactions", **query)
    assert answer.status_code == 200, answer.text
    return cast(dict[str, Any], answer.json())


def seqs(page: dict[str, Any]) -> list[int]:
    return [row["seq"] for row in page["transactions"]]


def test_rows_have_every_field_of_the_contract(host: Host, history: str) -> None:
    row = listed(host, history, limit=1)["transactions"][0]
    assert row["id"].startswith("txn_")
    lot = row["entries"][0].pop("lotId")
    assert lot.startswith("lot_")
    del row["id"]
    assert row == {
        "seq": 12,
        "type": "debit",
        "source": None,
        "amountCredits": "-11",
        "amountUsdc": None,
        "balanceAfter": str(3_000 - (1 + 2 + 3 + 5 + 6 + 7 + 9 + 10 + 11)),
        "debtAfter": "0",
        "description": "call 11",
        "referenceType": "spend",
        "referenceId": None,
        "reversesId": None,
        "purchaseId": None,
        "providerId": None,
        "providerName": None,
        "capabilityId": None,
        "outcome": None,
        "callId": None,
        "apiKeyId": None,
        "metadata": {},
        "entries": [{"bucket": "recharge", "amountCredits": "-11"}],
        "createdAt": "2026-11-02T20:30:00Z",
    }


def test_pages_are_newest_first_and_without_a_gap(host: Host, history: str) -> None:
    assert seqs(listed(host, history)) == list(range(12, 0, -1))
    pages = [listed(host, history, page=n, limit=5) for n in (1, 2, 3, 4)]
    assert [seqs(page) for page in pages] == [[12, 11, 10, 9, 8], [7, 6, 5, 4, 3], [2, 1], []]
    assert pages[0]["pagination"] == {"page": 1, "limit": 5, "total": 12}
    assert [page["nextCursor"] is None for page in pages] == [False, False, True, True]


@pytest.mark.parametrize(
    ("filters", "total"), [({}, 12), ({"type": "debit"}, 9), ({"from": "2026-11-02T13:30:00Z"}, 8)]
)
def test_cursors_reach_every_row_once_while_new_rows_come(
    host: Host, history: str, filters: dict[str, Any], total: int
) -> None:
    page = listed(host, history, limit=4, **filters)
    found = seqs(page)
    assert page["pagination"]["total"] == total
    while page["nextCursor"] is not None:
        host.spend(history, 1)
        page = listed(host, history, limit=4, cursor=page["nextCursor"], **filters)
        found += seqs(page)
    assert len(found) == total and found == sorted(set(found), reverse=True)


def test_one_type_is_counted_and_paged_alone(host: Host, history: str) -> None:
    grants = listed(host, history, type="promo_credit", limit=2)
    assert (seqs(grants), grants["pagination"]["total"]) == ([9, 5], 3)
    assert seqs(listed(host, history, type="promo_credit", limit=2, page=2)) == [1]
    assert seqs(listed(host, history, type="refund")) == []


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"from": "2026-11-02", "to": "2026-11-02"}, list(range(12, 0, -1))),
        ({"from": "2026-11-03"}, []),
        ({"to": "2026-11-01"}, []),
        ({"from": "0001-01-01", "to": "9999-12-31"}, list(range(12, 0, -1))),
        ({"from": "2026-11-02t12:30:00.000+02:00", "to": "2026-11-02t12:30:00z"}, [3, 2]),
        ({"from": "2026-11-02T10:30:00Z", "to": "2026-11-02T12:30:00Z"}, [3, 2]),
        ({"from": "2026-11-02T12:30:00+02:00", "to": "2026-11-02T14:30:00+02:00"}, [3, 2]),
        ({"from": "2026-11-02T19:30:00.000001Z"}, [12]),
        ({"to": "2026-11-02T09:30:00.000001Z"}, [1]),
        ({"from": "2026-11-02T15:00:00Z", "type": "promo_credit"}, [9]),
        ({"from": "2026-11-02T12:30:00Z", "to": "2026-11-02T12:30:00Z"}, []),
    ],
)
def test_dates_are_inclusive_and_instants_half_open(
    host: Host, history: str, query: dict[str, Any], expected: list[int]
) -> None:
    page = listed(host, history, **query)
    assert (seqs(page), page["pagination"]["total"]) == (expected, len(expected))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"type": "withdrawal"}, "type"),
        ({"from": "02.11.2026"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"to": "10000-01-01"}, "to"),
        ({"to": "9999-12-31T23:59:59-05:00"}, "to"),
        ({"to": "2026-W47-7"}, "to"),
        ({"from": "2026-W01-1"}, "from"),
        ({"from": "20261102"}, "from"),
        ({"from": "20261102T093000Z"}, "from"),
        ({"from": "2026-11-02T09:30:00"}, "from"),
        ({"from": "2026-11-05", "to": "2026-11-01"}, "from"),
        ({"from": "2026-11-02T12:30:00Z", "to": "2026-11-02T12:29:59Z"}, "from"),
        ({"from": ""}, "from"),
        ({"cursor": "abc"}, "cursor"),
        ({"cursor": "c2VxOi01"}, "cursor"),
        ({"cursor": "c2VxOjU", "page": 2}, "page"),
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"page": "1.5"}, "page"),
        ({"form": "2026-11-02"}, "form"),
    ],
)
def test_a_malformed_query_names_its_field(host: Host, query: dict[str, Any], field: str) -> None:
    path = host.open("a")
    assert_problem(host.get(f"{path}/transactions", **query), 400, "INVALID", field=field)


def test_a_parameter_stands_there_once(host: Host) -> None:
    path = host.open("a")
    bearer = {"Authorization": f"Bearer {host.service_key}"}
    answer = host.client.get(f"{path}/transactions?limit=1&limit=2", headers=bearer)
    assert_problem(answer, 400, "INVALID", field="limit")
