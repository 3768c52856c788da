"""`GET` and `PUT profile`: merged, checked as a whole, and what receipts and the account show of it."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from httpx import Response

from engine.flows.document_parts import buyer_of
from engine.store.credentials import KeyRole
from engine.store.database import reading
from engine.store.tables import AccountRow
from tests.api.host import Host, assert_problem

EMPTY = {
    "name": None, "email": "mira@customer.example", "locale": "en", "timezone": None, "country": None,
    "company": None, "taxId": None, "address": None,
}  # fmt: skip
ADDRESS = {
    "line1": "Beispielweg 12", "line2": None, "postalCode": "20095", "city": "Hamburg", "region": None, "country": "DE",
}  # fmt: skip


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a")


def put(host: Host, path: str, body: object, bearer: str | None = None) -> Response:
    headers = {"Authorization": f"Bearer {bearer or host.service_key}"}
    return host.client.put(f"{path}/profile", json=body, headers=headers)


def test_fields_that_are_named_change_and_the_rest_stays(host: Host, path: str) -> None:
    assert host.get(f"{path}/profile").json() == EMPTY
    whole = {
        "name": "Mira", "email": "m@example.org", "locale": "de", "timezone": "Europe/Berlin", "country": "DE",
        "company": "Mira GmbH", "taxId": "DE123456789", "address": ADDRESS,
    }  # fmt: skip
    assert put(host, path, whole).json() == whole
    assert put(host, path, {"address": {"city": "Kiel", "postalCode": None}}).json() == whole | {
        "address": ADDRESS | {"city": "Kiel", "postalCode": None}
    }
    changed = put(host, path, {"name": None, "address": None, "timezone": None})
    assert changed.json() == whole | {"name": None, "address": None, "timezone": None}
    assert put(host, path, {}).json() == host.get(f"{path}/profile").json() == changed.json()
    account = host.get(path).json()
    assert (account["email"], account["country"], account["locale"]) == ("m@example.org", "DE", "de")


def test_a_receipts_buyer_is_the_profile(host: Host, path: str) -> None:
    put(host, path, {"name": "Mira", "company": "Mira GmbH", "taxId": "de 123.456.789", "address": ADDRESS})
    with reading(host.runtime.db) as session:
        buyer = buyer_of(session.get_one(AccountRow, "a"))
    assert (buyer.name, buyer.company, buyer.tax_id) == ("Mira", "Mira GmbH", "DE123456789")
    assert buyer.address_lines == ("Beispielweg 12", "20095 Hamburg")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": "nobody"}, "email"),
        ({"email": None}, "email"),
        ({"locale": "german!"}, "locale"),
        ({"timezone": "Europe/Hamburg"}, "timezone"),
        ({"timezone": "../etc/passwd"}, "timezone"),
        ({"country": "de"}, "country"),
        ({"country": "XX"}, "country"),
        ({"address": {"country": "EU"}}, "address.country"),
        ({"address": {"street": "x"}}, "address.street"),
        ({"company": "a\nb"}, "company"),
        ({"taxId": "DE12"}, "taxId"),
        ({"taxId": "FR12345678901", "address": {"country": "DE"}}, "taxId"),
        ({"address": {"country": "AT"}, "taxId": "DE123456789"}, "taxId"),
        ({"nickname": "M"}, "nickname"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_changes(host: Host, path: str, body: object, field: str) -> None:
    put(host, path, {"country": "DE"})
    assert_problem(put(host, path, body), 400, "INVALID", field=field)
    assert host.get(f"{path}/profile").json() == EMPTY | {"country": "DE"}


def test_a_country_that_no_longer_fits_the_tax_number_is_refused(host: Host, path: str) -> None:
    put(host, path, {"country": "DE", "taxId": "123456789"})
    assert host.get(f"{path}/profile").json()["taxId"] == "DE123456789"
    assert_problem(put(host, path, {"country": "FR"}), 400, "INVALID", field="taxId")
    assert put(host, path, {"country": "FR", "taxId": None}).json()["country"] == "FR"


def test_a_new_country_makes_no_number_of_its_own_of_another_countrys(host: Host, path: str) -> None:
    put(host, path, {"country": "US", "taxId": "12-3456789"})
    for move in ({"country": "DE"}, {"address": {"line1": "Weg 1", "country": "DE"}}):
        assert_problem(put(host, path, move), 400, "INVALID", field="taxId")
    assert host.get(f"{path}/profile").json()["taxId"] == "123456789"
    assert put(host, path, {"country": "DE", "taxId": "123456789"}).json()["taxId"] == "DE123456789"


def test_changes_of_different_fields_do_not_undo_each_other(host: Host, path: str) -> None:
    bodies: list[dict[str, object]] = [
        {"name": "Mira"}, {"company": "Mira GmbH"}, {"timezone": "Asia/Tokyo"}, {"address": {"city": "Kiel"}},
        {"address": {"line1": "Weg 1"}}, {"country": "DE"},
    ]  # fmt: skip
    with ThreadPoolExecutor(6) as pool:
        assert {a.status_code for a in pool.map(lambda body: put(host, path, body), bodies)} == {200}
    shown = host.get(f"{path}/profile").json()
    assert (shown["name"], shown["company"], shown["timezone"], shown["country"]) == (
        "Mira", "Mira GmbH", "Asia/Tokyo", "DE",
    )  # fmt: skip
    assert (shown["address"]["city"], shown["address"]["line1"]) == ("Kiel", "Weg 1")


def test_accounts_that_are_not_there(host: Host, path: str) -> None:
    assert_problem(host.get("/v1/accounts/nobody/profile"), 404, "NOT-FOUND")
    assert_problem(put(host, "/v1/accounts/nobody", {}), 404, "NOT-FOUND")


def test_a_closed_account_is_read_and_not_changed(host: Host, path: str) -> None:
    host.post("/v1/admin/accounts/a/close", {"reason": "x"}, bearer=host.new_key("admin"))
    assert host.get(f"{path}/profile").json() == EMPTY
    assert_problem(put(host, path, {"name": "Mira"}), 403, "WALLET-001")


@pytest.mark.parametrize("role", ["account", "support", "approver", "admin", "auditor"])
def test_the_customers_key_reads_and_no_staff_does(host: Host, path: str, role: KeyRole) -> None:
    key = host.new_key(role, "a" if role == "account" else None)
    read = host.get(f"{path}/profile", bearer=key)
    if role == "account":
        assert read.json() == EMPTY
    else:
        assert_problem(read, 403, "AUTH-002")
    assert_problem(put(host, path, {"name": "M"}, bearer=key), 403, "AUTH-002")
