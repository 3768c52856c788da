"""The machine-readable invoice: a document as UN/CEFACT CII in the profile EN 16931 of Factur-X, always the same bytes.

Written here with the standard library: a worker process that only prints needs none of the 30 MB that a generator
loads, and the tests hold every file against the official schema and rules. BT and BG numbers are those of EN 16931.
What is sold was paid when the document is issued: nothing is due.
"""

from collections.abc import Iterable
from datetime import datetime
from xml.etree.ElementTree import Element, SubElement, register_namespace, tostring
from zoneinfo import ZoneInfo

from engine.rules.document_data import Buyer, Document, Issuer
from engine.rules.money import Money, major_text
from engine.rules.totals import Totals, totals
from receipts.exchange import exchange_text
from receipts.phrases import language, line_text, mention_text

NAME = "factur-x.xml"
PROFILE = "urn:cen.eu:en16931:2017"
CREDIT_CARD, PIECES, EMAIL = "54", "C62", "EM"
NAMESPACES = {
    "rsm": "urn:un:unece:uncefact:data:standard:CrossIndustryInvoice:100",
    "ram": "urn:un:unece:uncefact:data:standard:ReusableAggregateBusinessInformationEntity:100",
    "udt": "urn:un:unece:uncefact:data:standard:UnqualifiedDataType:100",
    "qdt": "urn:un:unece:uncefact:data:standard:QualifiedDataType:100",
}
for _prefix, _uri in NAMESPACES.items():
    register_namespace(_prefix, _uri)


def invoice_xml(document: Document) -> bytes:
    """The document as CII; only of those that are machine-readable."""
    assert document.has_xml and document.tax_category is not None
    sums = totals(document)
    root = Element(_tag("rsm:CrossIndustryInvoice"))
    context = _add(root, "rsm:ExchangedDocumentContext")
    _add(_add(context, "ram:GuidelineSpecifiedDocumentContextParameter"), "ram:ID", PROFILE)  # BT-24
    head = _add(root, "rsm:ExchangedDocument")
    _add(head, "ram:ID", document.number)  # BT-1
    _add(head, "ram:TypeCode", "381" if document.kind == "credit_note" else "380")  # BT-3
    _date(_add(head, "ram:IssueDateTime"), "udt", document, document.issued_at)  # BT-2
    for text in _notes(document):
        _add(_add(head, "ram:IncludedNote"), "ram:Content", text)  # BT-22
    trade = _add(root, "rsm:SupplyChainTradeTransaction")
    _lines(trade, document, sums)
    _agreement(trade, document)
    delivery = _add(trade, "ram:ApplicableHeaderTradeDelivery")
    happened = _add(_add(delivery, "ram:ActualDeliverySupplyChainEvent"), "ram:OccurrenceDateTime")
    _date(happened, "udt", document, document.paid_at)  # BT-72
    _settlement(trade, document, sums)
    xml: bytes = tostring(root, encoding="UTF-8", xml_declaration=True)
    return xml


def _notes(document: Document) -> Iterable[str]:
    spoken = language(document.locale)
    yield from (mention_text(spoken, document, key) for key in document.mentions)
    yield from (text for text in document.notes if text)
    if exchange := exchange_text(spoken, document):
        yield exchange
    if document.reason:
        yield document.reason


def _lines(trade: Element, document: Document, sums: Totals) -> None:
    """BG-25. The price (BT-146) is that of all the credits of the line (BT-149), so no digit of it is lost."""
    spoken = language(document.locale)
    for place, (line, net) in enumerate(zip(document.lines, sums.line_nets, strict=True), 1):
        count = str(max(line.credits, 1))
        item = _add(trade, "ram:IncludedSupplyChainTradeLineItem")
        _add(_add(item, "ram:AssociatedDocumentLineDocument"), "ram:LineID", str(place))  # BT-126
        _add(_add(item, "ram:SpecifiedTradeProduct"), "ram:Name", line_text(spoken, line))  # BT-153
        price = _add(_add(item, "ram:SpecifiedLineTradeAgreement"), "ram:NetPriceProductTradePrice")
        _add(price, "ram:ChargeAmount", _amount(document, net))
        _add(price, "ram:BasisQuantity", count, unitCode=PIECES)
        _add(_add(item, "ram:SpecifiedLineTradeDelivery"), "ram:BilledQuantity", count, unitCode=PIECES)  # BT-129
        settled = _add(item, "ram:SpecifiedLineTradeSettlement")
        tax = _add(settled, "ram:ApplicableTradeTax")
        _add(tax, "ram:TypeCode", "VAT")
        _category(tax, document)
        summed = _add(settled, "ram:SpecifiedTradeSettlementLineMonetarySummation")
        _add(summed, "ram:LineTotalAmount", _amount(document, net))  # BT-131


def _agreement(trade: Element, document: Document) -> None:
    agreement = _add(trade, "ram:ApplicableHeaderTradeAgreement")
    if document.purchase_order:
        _add(agreement, "ram:BuyerReference", document.purchase_order)  # BT-10
    is_outside = document.tax_category == "O"
    _seller(_add(agreement, "ram:SellerTradeParty"), document.seller, is_outside=is_outside)
    _buyer(_add(agreement, "ram:BuyerTradeParty"), document.buyer, is_outside=is_outside)
    if document.purchase_order:
        order = _add(agreement, "ram:BuyerOrderReferencedDocument")
        _add(order, "ram:IssuerAssignedID", document.purchase_order)  # BT-13


def _seller(party: Element, seller: Issuer, *, is_outside: bool) -> None:
    """BG-4. Outside the scope of VAT no VAT number may stand there (BR-O-02): it identifies as BT-30 then."""
    _add(party, "ram:Name", seller.name)  # BT-27
    registered = seller.registration_id or (seller.vat_id if is_outside else None)
    if registered:
        _add(_add(party, "ram:SpecifiedLegalOrganization"), "ram:ID", registered)  # BT-30
    street = tuple(line for line in seller.address_lines if not (seller.city and seller.city in line))
    _address(party, street, seller.postal_code, seller.city, "", seller.country)
    _add(_add(party, "ram:URIUniversalCommunication"), "ram:URIID", seller.email, schemeID=EMAIL)  # BT-34
    if seller.vat_id and not is_outside:
        _add(_add(party, "ram:SpecifiedTaxRegistration"), "ram:ID", seller.vat_id, schemeID="VA")  # BT-31


def _buyer(party: Element, buyer: Buyer, *, is_outside: bool) -> None:
    """BG-7."""
    _add(party, "ram:Name", buyer.company)  # BT-44
    if buyer.tax_id and is_outside:
        _add(_add(party, "ram:SpecifiedLegalOrganization"), "ram:ID", buyer.tax_id)  # BT-47
    street = buyer.street_lines or buyer.address_lines
    _address(party, street, buyer.postal_code, buyer.city, buyer.region, buyer.country)
    if buyer.email:
        _add(_add(party, "ram:URIUniversalCommunication"), "ram:URIID", buyer.email, schemeID=EMAIL)  # BT-49
    if buyer.tax_id and not is_outside:
        _add(_add(party, "ram:SpecifiedTaxRegistration"), "ram:ID", buyer.tax_id, schemeID="VA")  # BT-48


def _address(party: Element, street: tuple[str, ...], postal_code: str, city: str, region: str, country: str) -> None:
    """BG-5 and BG-8; more than three street lines are joined in the third."""
    address = _add(party, "ram:PostalTradeAddress")
    lines = (*street[:2], ", ".join(street[2:]))
    parts = [("ram:PostcodeCode", postal_code)]
    parts += list(zip(("ram:LineOne", "ram:LineTwo", "ram:LineThree"), lines, strict=False))
    parts += [("ram:CityName", city), ("ram:CountryID", country), ("ram:CountrySubDivisionName", region)]
    for name, text in parts:
        if text:
            _add(address, name, text)


def _settlement(trade: Element, document: Document, sums: Totals) -> None:
    settled = _add(trade, "ram:ApplicableHeaderTradeSettlement")
    if document.payment_id:
        _add(settled, "ram:PaymentReference", document.payment_id)  # BT-83
    national = document.national_tax
    if national is not None and national.minor is not None:
        _add(settled, "ram:TaxCurrencyCode", national.currency)  # BT-6
    _add(settled, "ram:InvoiceCurrencyCode", document.currency)  # BT-5
    _add(_add(settled, "ram:SpecifiedTradeSettlementPaymentMeans"), "ram:TypeCode", CREDIT_CARD)  # BT-81
    tax = _add(settled, "ram:ApplicableTradeTax")  # BG-23
    _add(tax, "ram:CalculatedAmount", _amount(document, sums.tax_minor))
    _add(tax, "ram:TypeCode", "VAT")
    reason = next((mention_text(language(document.locale), document, key) for key in document.mentions), None)
    if document.exemption_code and reason:
        _add(tax, "ram:ExemptionReason", reason)  # BT-120
    _add(tax, "ram:BasisAmount", _amount(document, sums.net_minor))
    _category(tax, document, is_total=True)
    summed = _add(settled, "ram:SpecifiedTradeSettlementHeaderMonetarySummation")
    _add(summed, "ram:LineTotalAmount", _amount(document, sums.lines_minor))  # BT-106
    _add(summed, "ram:TaxBasisTotalAmount", _amount(document, sums.net_minor))  # BT-109
    _add(summed, "ram:TaxTotalAmount", _amount(document, sums.tax_minor), currencyID=document.currency)  # BT-110
    if national is not None and national.minor is not None:
        stated = major_text(Money(national.minor, national.currency))
        _add(summed, "ram:TaxTotalAmount", stated, currencyID=national.currency)  # BT-111
    _add(summed, "ram:GrandTotalAmount", _amount(document, sums.total_minor))  # BT-112
    _add(summed, "ram:TotalPrepaidAmount", _amount(document, sums.prepaid_minor))  # BT-113
    _add(summed, "ram:DuePayableAmount", _amount(document, sums.due_minor))  # BT-115
    number = document.original_number or document.replaces_number or document.cancels_number
    issued_at = document.original_issued_at or document.replaces_issued_at or document.cancels_issued_at
    if number and issued_at:
        before = _add(settled, "ram:InvoiceReferencedDocument")  # BG-3
        _add(before, "ram:IssuerAssignedID", number)  # BT-25
        _date(_add(before, "ram:FormattedIssueDateTime"), "qdt", document, issued_at)  # BT-26


def _category(tax: Element, document: Document, *, is_total: bool = False) -> None:
    """Category and rate of BG-30 and BG-23; what is outside the scope has no rate (BR-O-05)."""
    assert document.tax_category is not None
    _add(tax, "ram:CategoryCode", document.tax_category)
    if is_total and document.exemption_code:
        _add(tax, "ram:ExemptionReasonCode", document.exemption_code)  # BT-121
    if document.tax_category != "O":
        _add(tax, "ram:RateApplicablePercent", document.tax_percent)


def _date(parent: Element, prefix: str, document: Document, instant: datetime) -> None:
    """The day in the document's time zone."""
    day = instant.astimezone(ZoneInfo(document.timezone)).strftime("%Y%m%d")
    _add(parent, f"{prefix}:DateTimeString", day, format="102")


def _amount(document: Document, minor: int) -> str:
    return major_text(Money(minor, document.currency))


def _add(parent: Element, name: str, text: str | None = None, **attributes: str) -> Element:
    made = SubElement(parent, _tag(name), attributes)
    made.text = _sound(text) if text is not None else None
    return made


def _sound(text: str) -> str:
    """Text without the characters that XML cannot hold."""
    return "".join(
        c for c in text if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
    )


def _tag(name: str) -> str:
    prefix, local = name.split(":")
    return f"{{{NAMESPACES[prefix]}}}{local}"
