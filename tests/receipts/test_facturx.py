"""Embedded invoices: valid by the official schema and rules, the same totals as the PDF, and bad ones are found."""

import io
import re
from collections.abc import Callable

import facturx
import pikepdf
import pytest
from lxml import etree
from msgspec.structs import replace

from engine.rules.document_data import LINES_MAX
from engine.rules.documents import Credited, Document, Line, cancellation, correction, remaining_lines
from engine.rules.money import Money, major_text
from receipts.facturx import NAME, NAMESPACES, invoice_xml
from tests.receipts.kinds import (
    ABROAD,
    COMPANY,
    LOCALES,
    OVERSEAS,
    WITH_RATE,
    an_invoice,
    cancelled,
    documents,
    of_row,
)
from tests.receipts.samples import ISSUED_AT, TAX_ON_TOP, a_credit_note, a_receipt
from tests.receipts.schematron import check

Pdf = Callable[[Document], bytes]
HOSTILE = replace(COMPANY, company='<b>&"\u202e\x0c]]>' + "Ü" * 200, street_lines=("a", "b", "c", "d"), email="")
XML_KINDS = ("invoice", "reverse_charge", "credit_note", "correction", "other_currency")
ON_TOP = replace(TAX_ON_TOP, label="VAT")
MANY = tuple(
    Line(key="commit", count=n % 12 + 1, credits=n, amount_minor=n * 7 % 1_003) for n in range(1, LINES_MAX + 1)
)


def samples() -> dict[str, Document]:
    invoice = an_invoice()
    abroad = of_row("EU to a taxable person in another member state", buyer=ABROAD)
    overseas = of_row("EU to a company outside the EU", buyer=OVERSEAS)
    first = a_credit_note(invoice, refunded_minor=3_333, credits=4_000, bonus_credits=1_000)
    left = Credited(first.total_minor, first.tax_minor, first.credits_total, first.bonus_credits)
    rest = cancellation(invoice, left, document_id="d", number="ALPC26-0000003", issued_at=ISSUED_AT, reason="x")
    lines = remaining_lines(invoice, left)
    dollars = an_invoice(price=Money(30_000, "USD"), tax=WITH_RATE)
    return {
        **{f"invoice {locale}": an_invoice(locale=locale) for locale in LOCALES},
        "reverse charge": abroad,
        "outside the EU": overseas,
        "zero rate": an_invoice(buyer=replace(COMPANY, country="FR", tax_id="FR40303265045")),
        "British": of_row("GB to a company", price=Money(30_000, "GBP")),
        "yen": an_invoice(price=Money(30_000, "JPY")),
        "tax on top": an_invoice(tax=ON_TOP),
        "one cent": an_invoice(price=Money(1, "EUR"), lines=(Line(key="top_up", credits=1, amount_minor=1),)),
        "many lines": an_invoice(lines=MANY, price=Money(sum(line.amount_minor for line in MANY), "EUR")),
        "hostile": an_invoice(buyer=HOSTILE, purchase_order="<&>"),
        "reissued": an_invoice(
            lines=lines, price=Money(sum(line.amount_minor for line in lines), "EUR"),
            replaces_number="ALPR26-0000001", replaces_issued_at=ISSUED_AT,
        ),
        "partial credit": first,
        "rest cancelled": rest,
        "cancelled": cancelled(invoice),
        "reverse charge credit": a_credit_note(abroad),
        "outside credit": a_credit_note(overseas),
        "in dollars": dollars,
        "in dollars, no rate": an_invoice(price=Money(30_000, "USD")),
        "credit in dollars": a_credit_note(dollars, refunded_minor=10_000, credits=13_125, bonus_credits=1_875),
        "corrected": correction(
            first, document_id="d", number="ALPI26-0000009", issued_at=ISSUED_AT, paid_at=ISSUED_AT
        ),
    }  # fmt: skip


SAMPLES = samples()


def test_every_invoice_keeps_the_official_rules() -> None:
    xmls = [invoice_xml(document) for document in SAMPLES.values()]
    for xml in xmls:
        assert facturx.xml_check_xsd(xml, flavor="factur-x", level="en16931")
    assert dict(zip(SAMPLES, check(xmls), strict=True)) == {name: [] for name in SAMPLES}


DAMAGES: list[tuple[str, str, str, str]] = [
    ("invoice en", r"<ram:GrandTotalAmount>300.00<", "<ram:GrandTotalAmount>300.01<", "BR-CO-15"),
    ("invoice en", r"<ram:DuePayableAmount>0.00<", "<ram:DuePayableAmount>1.00<", "BR-CO-16"),
    ("invoice en", r"<ram:LineTotalAmount>252.10</ram:LineTotalAmount><ram:Tax",
     "<ram:LineTotalAmount>252.11</ram:LineTotalAmount><ram:Tax", "BR-CO-10"),
    ("invoice en", r"<ram:CalculatedAmount>47.90<", "<ram:CalculatedAmount>50.00<", "BR-CO-14"),
    ("invoice en", r"<ram:CountryID>DE</ram:CountryID>", "", "BR-09"),
    ("reverse charge", r'<ram:SpecifiedTaxRegistration><ram:ID schemeID="VA">FR40303265045</ram:ID>'
     "</ram:SpecifiedTaxRegistration>", "", "BR-AE-02"),
    ("reverse charge", r"<ram:ExemptionReason>.*?</ram:ExemptionReason>", "", ""),
    ("invoice en", r"<ram:ID>ALPI26-0000007</ram:ID>", "", "BR-02"),
    ("in dollars", r'<ram:TaxTotalAmount currencyID="EUR">44.13</ram:TaxTotalAmount>', "", "BR-53"),
]  # fmt: skip


def test_bad_invoices_are_found() -> None:
    """The controls: a check that finds nothing here would find nothing above."""
    bad: list[bytes] = []
    for name, pattern, instead, _ in DAMAGES:
        xml = invoice_xml(SAMPLES[name]).decode()
        damaged = re.sub(pattern, instead, xml, count=1)
        assert damaged != xml, pattern
        bad.append(damaged.encode())
    for (_, pattern, _, rule), found in zip(DAMAGES, check(bad), strict=True):
        assert rule in found if rule else found == [], (pattern, found)


def test_the_schema_refuses_what_is_no_invoice() -> None:
    xml = invoice_xml(an_invoice()).replace(b"ram:TypeCode", b"ram:KindCode")
    with pytest.raises(Exception, match="KindCode"):
        facturx.xml_check_xsd(xml, flavor="factur-x", level="en16931")


def test_only_invoices_and_their_notes_are_machine_readable(pdf: Pdf) -> None:
    for name, document in documents("en").items():
        with pikepdf.open(io.BytesIO(pdf(document))) as opened:
            assert list(opened.attachments) == ([NAME] if document.has_xml else []), name
            xmp = opened.Root.Metadata.read_bytes()
        assert (b"fx:ConformanceLevel" in xmp) == document.has_xml
        assert document.has_xml == (name in XML_KINDS)
    with pytest.raises(AssertionError):
        invoice_xml(a_receipt())
    assert not an_invoice(price=Money(30_000, "KWD")).has_xml, "EN 16931 knows two decimal places"


def test_the_embedded_invoice_says_what_the_page_says(pdf: Pdf) -> None:
    document = SAMPLES["partial credit"]
    name, xml = facturx.get_xml_from_pdf(pdf(document), check_xsd=True)
    assert name == NAME and xml == invoice_xml(document)
    tree = etree.fromstring(xml)

    def one(path: str) -> str:
        [found] = tree.xpath(f"{path}/text()", namespaces=NAMESPACES)
        return str(found)

    assert one("//rsm:ExchangedDocument/ram:TypeCode") == "381"
    assert one("//ram:GrandTotalAmount") == major_text(Money(document.total_minor, "EUR")) == "33.33"
    assert one("//ram:InvoiceReferencedDocument/ram:IssuerAssignedID") == document.original_number
    assert one("//rsm:ExchangedDocument/ram:IssueDateTime/udt:DateTimeString") == "20261121"
    assert one("//ram:BuyerOrderReferencedDocument/ram:IssuerAssignedID") == "PO-2026-118"


def test_what_is_stated_in_euro_stands_in_the_file_with_its_rate() -> None:
    tree = etree.fromstring(invoice_xml(SAMPLES["in dollars"]))
    assert tree.xpath("//ram:TaxCurrencyCode/text()", namespaces=NAMESPACES) == ["EUR"]
    assert tree.xpath("//ram:TaxTotalAmount/@currencyID", namespaces=NAMESPACES) == ["USD", "EUR"]
    notes = tree.xpath("//ram:IncludedNote/ram:Content/text()", namespaces=NAMESPACES)
    assert "Rate of exchange: USD\u00a01.00 = EUR\u00a00.9213 (ECB, November 1, 2026)" in notes
    unknown = etree.fromstring(invoice_xml(SAMPLES["in dollars, no rate"]))
    assert unknown.xpath("//ram:TaxCurrencyCode", namespaces=NAMESPACES) == []


def test_a_correction_is_an_invoice_that_names_the_note_it_cancels() -> None:
    tree = etree.fromstring(invoice_xml(SAMPLES["corrected"]))
    assert tree.xpath("//rsm:ExchangedDocument/ram:TypeCode/text()", namespaces=NAMESPACES) == ["380"]
    [before] = tree.xpath("//ram:InvoiceReferencedDocument/ram:IssuerAssignedID/text()", namespaces=NAMESPACES)
    assert before == SAMPLES["partial credit"].number


def test_hostile_names_stay_text() -> None:
    tree = etree.fromstring(invoice_xml(SAMPLES["hostile"]))
    [name] = tree.xpath("//ram:BuyerTradeParty/ram:Name/text()", namespaces=NAMESPACES)
    assert name.startswith('<b>&"\u202e]]>Ü')
    [third] = tree.xpath("//ram:BuyerTradeParty//ram:LineThree/text()", namespaces=NAMESPACES)
    assert third == "c, d"


def test_the_file_has_one_packet_one_relation_and_the_documents_dates(pdf: Pdf) -> None:
    with pikepdf.open(io.BytesIO(pdf(an_invoice()))) as opened:
        xmp = opened.Root.Metadata.read_bytes()
        assert xmp.count(b"<rdf:RDF") == 1 and xmp.count(b"<pdfaExtension:schemas>") == 1
        for said in (b"<fx:Version>1.0<", b"<fx:DocumentFileName>factur-x.xml<", b"<fx:ConformanceLevel>EN 16931<"):
            assert said in xmp
        [related] = opened.Root.AF
        assert str(related.AFRelationship) == "/Alternative"
        assert str(related.EF.F.Params.ModDate) == "D:20261120233005Z"
