"""Receipts over HTTP: an invoice asked for later, credit notes, "send again", the month as ZIP and CSV."""

import csv
import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import facturx
import pikepdf
import pytest
from litestar.testing import TestClient
from sqlalchemy import delete, update
from sqlmodel import col, select

from api.receipt_checks import verify_documents
from api.receipt_exports import month_of
from api.receipt_files import pdf_maker
from api.receipts import resources
from engine.audit import audit
from engine.clock import monotonic, sleep
from engine.flows import documents
from engine.flows.receipt_mails import MAILS_A_DAY
from engine.jobs import Jobs
from engine.rules.documents import read
from engine.store.database import Database, reading, transact
from engine.store.tables import DocumentRow, FactRow, MailRow, OutboxRow, PurchaseRow
from receipts.render import Renderer
from tests.api.host import Host, assert_problem, new_app, new_runtime
from tests.engine.support import FakeClock

COMPANY = {
    "company": "Example Compute GmbH", "taxId": "DE136695976",
    "address": {"line1": "Beispielweg 12", "postalCode": "20095", "city": "Hamburg", "country": "DE"},
}  # fmt: skip
FRENCH = {
    "company": "Calcul Exemple SARL", "taxId": "FR40303265045",
    "address": {"line1": "8 rue des Capucins", "line2": None, "postalCode": "69001", "city": "Lyon", "country": "FR"},
}  # fmt: skip


@pytest.fixture(scope="module")
def renderer() -> Iterator[Renderer]:
    with Renderer() as made:
        yield made


@pytest.fixture
def host(db: Database, clock: FakeClock, renderer: Renderer) -> Iterator[Host]:
    runtime = new_runtime(db, clock, "alphio")
    app = new_app(runtime, resources(renderer))
    with TestClient(app) as client:
        made = Host(client, runtime, app.state["site"], clock, service_key="")
        made.service_key = made.new_key("service", name="backend")
        yield made
    runtime.group.close()


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


def put_profile(host: Host, path: str, body: object) -> None:
    headers = {"Authorization": f"Bearer {host.service_key}"}
    answer = host.client.put(f"{path}/profile", json=body, headers=headers)
    assert answer.status_code == 200, answer.text


def a_purchase(host: Host, minor: int = 30_000, number: int = 1) -> str:
    """A purchase as it stands once it was paid: what documents are made from."""
    now = host.wait(seconds=1)
    purchase_id = f"pay_{number}"

    def work(session: Any) -> None:
        session.add(
            PurchaseRow(
                account_id="a",
                purchase_id=purchase_id,
                provider="stripe",
                status="paid",
                amount_minor=minor,
                currency="USD",
                base_credits=minor,
                bonus_credits=minor // 10,
                tier="base",
                description="Credit top-up",
                success_url="x",
                cancel_url="x",
                provider_reference=f"pi_{number}",
                actor="test",
                created_at=now,
                expires_at=now,
                landed_at=now,
                updated_at=now,
            )
        )

    transact(host.runtime.db, work)
    documents.issue_receipt(host.runtime, "a", purchase_id)
    return purchase_id


def a_refund(host: Host, purchase_id: str, minor: int, number: int = 1) -> None:
    host.wait(seconds=1)

    def work(session: Any) -> None:
        session.add(
            FactRow(
                account_id="a",
                purchase_id=purchase_id,
                fact_id=f"re_{number}",
                kind="refund",
                object_id=f"re_{number}",
                state="succeeded",
                amount_minor=minor,
                currency="USD",
                version=1,
                is_live=False,
                seen_at=host.clock.now(),
            )
        )

    transact(host.runtime.db, work)
    documents.issue_credit_note(host.runtime, "a", purchase_id, f"re_{number}")


def listed(host: Host, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = host.get(f"{path}/receipts").json()["receipts"]
    return found


def pdf(host: Host, path: str, receipt_id: str) -> bytes:
    answer = host.get(f"{path}/receipts/{receipt_id}.pdf")
    assert answer.status_code == 200, answer.text
    return answer.content


def rows(host: Host) -> dict[str, DocumentRow]:
    """Every document by its number."""
    with reading(host.runtime.db) as session:
        return {row.number: row for row in session.exec(select(DocumentRow)).all()}


def findings(host: Host) -> set[str]:
    """What the audit finds, but of the purchases themselves: here they are no more than documents are made from."""
    keys = host.runtime.secrets.all_for("ledger chain")
    found = audit(host.runtime.db, keys).findings
    return {finding.what for finding in found if not finding.where.startswith("pay_")}


def is_clean(host: Host) -> bool:
    return not findings(host)


def test_a_person_gets_a_receipt_and_a_company_with_a_tax_number_an_invoice(host: Host, path: str) -> None:
    a_purchase(host)
    put_profile(host, path, COMPANY)
    a_purchase(host, number=2)
    invoice, receipt = listed(host, path)
    assert (receipt["kind"], receipt["number"]) == ("receipt", "ALPR26-0000001")
    assert (invoice["kind"], invoice["number"]) == ("invoice", "ALPI26-0000001")
    name, xml = facturx.get_xml_from_pdf(pdf(host, path, invoice["id"]), check_xsd=True)
    assert name == "factur-x.xml" and b"Example Compute GmbH" in xml and b"DE136695976" in xml
    assert is_clean(host)


def test_a_receipt_becomes_an_invoice_by_cancel_and_reissue_and_asking_again_finds_it(host: Host, path: str) -> None:
    a_purchase(host)
    [receipt] = listed(host, path)
    before = pdf(host, path, receipt["id"])
    asked = f"{path}/receipts/{receipt['id']}/invoice"
    assert_problem(host.post(asked, {}), 400, "INVALID", field="company")
    put_profile(host, path, {**COMPANY, "taxId": None})
    made = host.post(asked, {"purchaseOrder": "PO-7"})
    assert made.status_code == 201 and made.json()["kind"] == "invoice"
    again = host.post(asked, {})
    assert again.status_code == 200 and again.json() == made.json()
    kinds = {row["kind"]: row for row in listed(host, path)}
    assert set(kinds) == {"receipt", "credit_note", "invoice"} and len(listed(host, path)) == 3
    note = kinds["credit_note"]
    assert (note["originalNumber"], note["amountMinor"]) == (receipt["number"], 30_000)
    assert pdf(host, path, receipt["id"]) == before, "what was issued stays as it was"
    old, cancelled, invoice = (rows(host)[f"ALP{letter}26-0000001"] for letter in "RCI")
    assert old.replaced_by == invoice.document_id
    document = read(invoice.data.encode())
    assert (document.replaces_number, document.purchase_order) == (receipt["number"], "PO-7")
    assert (document.total_minor, document.credits_total) == (30_000, 33_000)
    assert read(cancelled.data.encode()).credits_total == 0, "no credits move"
    assert host.get(f"{path}/payments").json()["payments"][0]["receiptUrl"] == (
        f"{host.runtime.base_url}{path}/receipts/{invoice.document_id}.pdf"
    )
    own = host.get("/v1/billing/payments", bearer=host.new_key("account", path.rsplit("/", 1)[1])).json()
    assert own["payments"][0]["receiptUrl"].endswith(f"/v1/billing/receipts/{invoice.document_id}.pdf")
    assert is_clean(host)


def test_an_invoice_with_another_company_is_issued_anew(host: Host, path: str) -> None:
    put_profile(host, path, COMPANY)
    a_purchase(host)
    [first] = listed(host, path)
    put_profile(host, path, FRENCH)
    second = host.post(f"{path}/receipts/{first['id']}/invoice", {}).json()
    assert second["number"] == "ALPI26-0000002"
    document = read(rows(host)[second["number"]].data.encode())
    assert (document.tax_category, document.tax_minor, document.mentions) == ("AE", 0, ("reverse_charge",))
    assert document.replaces_number == first["number"] and document.total_minor == 30_000
    with pikepdf.open(io.BytesIO(pdf(host, path, second["id"]))) as opened:
        assert list(opened.attachments) == ["factur-x.xml"]


def test_after_a_refund_the_invoice_is_for_what_is_left_and_later_refunds_name_it(host: Host, path: str) -> None:
    purchase = a_purchase(host)
    a_refund(host, purchase, 10_000)
    put_profile(host, path, COMPANY)
    receipt = next(row for row in listed(host, path) if row["kind"] == "receipt")
    invoice = host.post(f"{path}/receipts/{receipt['id']}/invoice", {}).json()
    assert invoice["amountMinor"] == 20_000
    a_refund(host, purchase, 25_000, number=2)
    notes = [row for row in listed(host, path) if row["kind"] == "credit_note"]
    assert sorted((row["originalNumber"], row["amountMinor"]) for row in notes) == [
        ("ALPI26-0000001", 20_000), ("ALPR26-0000001", 10_000), ("ALPR26-0000001", 20_000),
    ]  # fmt: skip
    all_rows = rows(host).values()
    for number in ("ALPI26-0000001", "ALPR26-0000001"):
        original = next(row for row in all_rows if row.number == number)
        against = [row for row in all_rows if row.original_number == number]
        assert sum(row.amount_minor for row in against) == original.amount_minor
        assert sum(row.tax_minor for row in against) == original.tax_minor
    put_profile(host, path, {"company": "Another GmbH"})
    assert_problem(host.post(f"{path}/receipts/{receipt['id']}/invoice", {}), 409, "REFUND-003")
    assert is_clean(host)


def test_what_is_no_receipt_is_not_made_an_invoice(host: Host, path: str) -> None:
    purchase = a_purchase(host)
    a_refund(host, purchase, 10_000)
    put_profile(host, path, COMPANY)
    note = next(row for row in listed(host, path) if row["kind"] == "credit_note")
    assert_problem(host.post(f"{path}/receipts/{note['id']}/invoice", {}), 400, "INVALID", field="receiptId")
    assert_problem(host.post(f"{path}/receipts/doc_none/invoice", {}), 404, "NOT-FOUND")
    assert_problem(host.post(f"{host.open('b')}/receipts/{note['id']}/invoice", {}), 404, "NOT-FOUND")
    assert_problem(host.post(f"{path}/receipts/{note['id']}/invoice", {"po": "x"}), 400, "INVALID", field="po")


def test_the_customers_own_key_reads_and_changes_nothing(host: Host, path: str) -> None:
    a_purchase(host)
    [receipt] = listed(host, path)
    key = host.new_key("account", "a")
    assert host.get(f"{path}/receipts/export", bearer=key, month="2026-01").status_code == 200
    for act in ("invoice", "send"):
        assert_problem(host.post(f"{path}/receipts/{receipt['id']}/{act}", {}, bearer=key), 403, "AUTH-002")


def test_a_document_is_sent_again_to_whom_it_should_reach_and_not_without_end(host: Host, path: str) -> None:
    a_purchase(host)
    [receipt] = listed(host, path)
    send = f"{path}/receipts/{receipt['id']}/send"
    assert host.post(send, {}).json() == {"recipients": ["mira@customer.example"]}
    two = {"recipients": ["ap@customer.example", "tax@customer.example", "ap@customer.example"]}
    assert host.post(send, two).json() == {"recipients": ["ap@customer.example", "tax@customer.example"]}
    for bad in ({"recipients": []}, {"recipients": ["nobody"]}, {"recipients": ["x@y.example\nBcc: z@y.example"]}):
        assert_problem(host.post(send, bad), 400, "INVALID")
    with reading(host.runtime.db) as session:
        mails = session.exec(select(MailRow).where(MailRow.kind == "receiptSent")).all()
        pdf_row = session.exec(select(DocumentRow)).one()
    assert len(mails) == 3 and all(mail.document_id == receipt["id"] for mail in mails)
    assert mails[0].subject == "Alphio: Receipt ALPR26-0000001" and "USD" in mails[0].text
    assert pdf_row.pdf is not None, "the PDF that goes with the mails is kept"
    for number in range(MAILS_A_DAY - 3):
        assert host.post(send, {"recipients": [f"p{number}@customer.example"]}).status_code == 200
    problem = host.post(send, {})
    assert_problem(problem, 429, "RATE-001")
    assert 0 < int(problem.headers["retry-after"]) <= 86_400
    host.wait(days=1, seconds=1)
    assert host.post(send, {}).status_code == 200


def test_a_month_is_a_zip_of_pdfs_with_a_table(host: Host, path: str) -> None:
    put_profile(host, path, {"name": "=cmd()"})
    purchase = a_purchase(host)
    a_refund(host, purchase, 10_000)
    month = host.clock.now().strftime("%Y-%m")
    answer = host.get(f"{path}/receipts/export", month=month)
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == f'attachment; filename="receipts-{month}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        names = archive.namelist()
        assert names == ["ALPR26-0000001.pdf", "ALPC26-0000001.pdf", f"receipts-{month}.csv"]
        assert archive.read(names[0]) == pdf(host, path, rows(host)["ALPR26-0000001"].document_id)
        table = archive.read(names[2])
    assert host.get(f"{path}/receipts/export", month=month).content == answer.content
    alone = host.get(f"{path}/receipts/export", month=month, format="csv")
    assert alone.content == table and alone.headers["content-type"] == "text/csv; charset=utf-8"
    first, second = csv.DictReader(io.StringIO(table.decode()))
    assert (first["number"], first["net"], first["tax"], first["total"]) == (
        "ALPR26-0000001",
        "300.00",
        "0.00",
        "300.00",
    )
    assert (second["originalNumber"], second["total"], second["credits"]) == ("ALPR26-0000001", "-100.00", "-11000")
    assert (second["net"], second["tax"]) == ("-100.00", "0.00"), "what is nothing has no sign"
    assert first["buyer"] == "'=cmd()"
    empty = host.get(f"{path}/receipts/export", month="2020-02", format="csv")
    assert len(empty.text.splitlines()) == 1


@pytest.mark.parametrize("query", [{}, {"month": "2026-13"}, {"month": "26-1"}, {"month": "2026-01", "format": "xlsx"}])
def test_a_month_that_is_none_is_refused(host: Host, path: str, query: dict[str, str]) -> None:
    assert_problem(host.get(f"{path}/receipts/export", **query), 400, "INVALID")


def test_a_month_is_the_sellers() -> None:
    assert month_of("2026-12", "Europe/Berlin") == (
        datetime(2026, 11, 30, 23, tzinfo=timezone.utc),
        datetime(2026, 12, 31, 23, tzinfo=timezone.utc),
    )
    assert month_of("2026-07", "America/New_York")[0] == datetime(2026, 7, 1, 4, tzinfo=timezone.utc)


def test_the_pdf_is_made_at_issue_sealed_and_verified(host: Host, path: str, renderer: Renderer) -> None:
    a_purchase(host)
    jobs = Jobs(host.runtime, {"pdf": pdf_maker(renderer)})
    jobs.run_due()
    with reading(host.runtime.db) as session:
        [made] = session.exec(select(OutboxRow).where(OutboxRow.kind == "pdf")).all()
    assert made.done_at is not None
    ends = monotonic() + 20
    while rows(host)["ALPR26-0000001"].pdf is None and monotonic() < ends:
        sleep(0.05)
    row = rows(host)["ALPR26-0000001"]
    assert row.pdf is not None and row.pdf_digest == hashlib.sha256(row.pdf).hexdigest()
    assert row.press is not None and row.press.startswith("weasyprint 70")
    verified = verify_documents(host.runtime.db, renderer)
    assert (verified.documents, verified.same, verified.findings) == (1, 1, [])
    assert is_clean(host)


def change(host: Host, of: str, **values: object) -> None:
    def work(session: Any) -> None:
        session.execute(update(DocumentRow).where(col(DocumentRow.number) == of).values(**values))

    transact(host.runtime.db, work)


def test_tampering_is_found(host: Host, path: str, renderer: Renderer) -> None:
    for number in (1, 2, 3):
        a_purchase(host, number=number)
    for row in rows(host).values():
        pdf(host, path, row.document_id)
    assert is_clean(host)
    good = rows(host)["ALPR26-0000002"]
    cheaper = good.data.replace('"total_minor":30000', '"total_minor":20000')
    change(host, good.number, data=cheaper)
    assert "its frozen data was changed" in findings(host)
    change(host, good.number, digest=hashlib.sha256(cheaper.encode()).hexdigest())
    assert "its link does not follow the document before it" in findings(host)
    change(host, good.number, data=good.data, digest=good.digest, pdf=b"%PDF-1.7 another")
    assert "its PDF is not the one that was made of it" in findings(host)
    assert verify_documents(host.runtime.db, renderer).findings[0].what.startswith("rendered again it is another file")
    change(host, good.number, pdf_digest=hashlib.sha256(b"%PDF-1.7 another").hexdigest())
    assert "its PDF is not the one that was made of it" in findings(host)
    change(host, good.number, pdf=good.pdf, pdf_digest=good.pdf_digest)
    assert is_clean(host)
    if host.runtime.db.is_sqlite:
        change(host, good.number, data=b"bytes")
        assert "what is stored of it is no text" in findings(host)
        change(host, good.number, data=good.data)
    change(host, "ALPR26-0000003", number_in_series=7, number="ALPR26-0000007")
    assert any("not 1 to 3" in what for what in findings(host))


def test_the_last_document_cannot_be_cut_off(host: Host, path: str) -> None:
    for number in (1, 2):
        a_purchase(host, number=number)

    def cut(session: Any) -> None:
        session.execute(delete(DocumentRow).where(col(DocumentRow.number) == "ALPR26-0000002"))

    transact(host.runtime.db, cut)
    assert not is_clean(host)
