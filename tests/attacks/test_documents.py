"""Attacks by what customers write into documents: markup, addresses, formulas; in PDFs and in the month's CSV."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import pikepdf
import pytest
from litestar.testing import TestClient

from api.receipts import resources
from receipts.render import Renderer
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, new_app
from tests.receipts.inspect_pdf import text_lines

COMPANY = {
    "name": "<script>alert(1)</script>",
    "company": '=HYPERLINK("https://evil.example") <b>Ltd</b> &amp; {{7*7}}',
    "address": {
        "line1": '<img src="file:///etc/passwd">',
        "line2": '<link rel="attachment" href="file:///etc/hostname">',
        "postalCode": "10115",
        "city": "</td><style>*{display:none}</style>",
        "country": "DE",
    },
}
ORDER = "+cmd|' /C calc'!A1 <a href=x>"
RUNS = ("/JavaScript", "/JS", "/Launch", "/OpenAction", "/AA", "/SubmitForm", "/ImportData", "/GoToR", "/RichMedia")


@pytest.fixture
def desk(host: Host) -> Iterator[Desk]:
    """The desk of a host whose account `a` belongs to a company with such a name."""
    with Renderer() as renderer:
        app = new_app(host.runtime, resources(renderer))
        with TestClient(app) as client:
            host.client, host.site = client, app.state["site"]
            path = host.open("a", "pro")
            headers = {"Authorization": f"Bearer {host.service_key}"}
            assert client.put(f"{path}/profile", json=COMPANY, headers=headers).status_code == 200
            yield open_desk(host)


def test_markup_is_text_in_every_pdf_and_nothing_of_it_runs_or_is_fetched(desk: Desk, tmp_path: Path) -> None:
    host, path = desk.host, "/v1/accounts/a"
    desk.buy(path, 2_000)
    (receipt,) = host.get(f"{path}/receipts").json()["receipts"]
    assert host.post(f"{path}/receipts/{receipt['id']}/invoice", {"purchaseOrder": ORDER}).status_code == 201
    documents = host.get(f"{path}/receipts").json()["receipts"]
    assert {each["kind"] for each in documents} == {"receipt", "credit_note", "invoice"}
    for each in documents:
        pdf = host.get(f"{path}/receipts/{each['id']}.pdf").content
        text = " ".join(text_lines(pdf, tmp_path))
        assert "root:" not in text and "<b>Ltd</b> &amp; {{7*7}}" in text, text
        assert '<img src="file:///etc/passwd">' in text and "*{display:none}" in text, text
        assert (ORDER in text) == (each["kind"] == "invoice")
        with pikepdf.open(io.BytesIO(pdf)) as opened:
            things = [thing for thing in opened.objects if isinstance(thing, pikepdf.Dictionary)]
            found = {str(key) for thing in things for key in thing}
            addresses = [str(thing["/URI"]) for thing in things if "/URI" in thing]
            names = list(opened.attachments)
        assert not found & set(RUNS)
        assert not [url for url in addresses if "evil" in url or url.startswith("file:")]
        assert all(name == "factur-x.xml" for name in names)


def test_the_months_csv_runs_no_formula(desk: Desk) -> None:
    host, path = desk.host, "/v1/accounts/a"
    desk.buy(path, 2_000)
    (receipt,) = host.get(f"{path}/receipts").json()["receipts"]
    host.post(f"{path}/receipts/{receipt['id']}/invoice", {"purchaseOrder": ORDER})
    month = receipt["issuedAt"][:7]
    text = host.get(f"{path}/receipts/export", month=month, format="csv").content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 3 and any("HYPERLINK" in row["buyer"] for row in rows)
    assert any("cmd|" in row["purchaseOrder"] for row in rows)
    for row in rows:
        for column in ("buyer", "purchaseOrder", "taxId"):
            assert not row[column].startswith(("=", "+", "-", "@", "\t", "\r")), row
