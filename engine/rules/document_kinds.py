"""Which document a sale calls for: its kind, title, tax category and mandatory mentions, by a table of data.

The table is read from the top and the first row that fits counts. Each row names its source. It is no tax advice: an
operator has it checked for their own country, and changes the row. Countries are ISO 3166-1 alpha-2; categories are
those of EN 16931 (UNTDID 5305): S standard, Z zero-rated, AE reverse charge, O outside the scope.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from engine.rules.document_data import Kind, MentionKey, TaxCategory, TitleKey

EU = frozenset("AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK".split())

SIMPLIFIED_UP_TO: dict[str, tuple[int, str]] = {
    "AT": (40_000, "EUR"),
    "BE": (40_000, "EUR"),
    "DE": (25_000, "EUR"),
    "ES": (40_000, "EUR"),
    "FR": (15_000, "EUR"),
    "GB": (25_000, "GBP"),
    "IT": (40_000, "EUR"),
}
"""The highest total, tax included, of a simplified invoice; other EU states are taken at €100.

Directive 2006/112/EC Art. 220a and 238 (up to €100, by choice €400); §11(6) UStG-AT, §33 UStDV, Art. 4 RD 1619/2012,
Art. 242 nonies A ann. II CGI, Art. 21-bis DPR 633/72, VAT Regulations 1995 (UK) reg. 16. Only totals in the limit's
own currency are compared: no rate of exchange is guessed."""

EU_SIMPLIFIED_UP_TO = (10_000, "EUR")

Seller = Literal["other", "EU", "GB", "JP", "AU", "IN", "any"]
Registered = Literal["registered", "unregistered", "any"]
Place = Literal["same", "other_eu", "outside_eu", "abroad", "any"]
Party = Literal["taxable", "company", "any"]
TaxPoint = Literal["sale", "redemption"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sale:
    """What the choice depends on. `buyer_is_company` says that name and billing address of a company are known;
    `is_tax_id_sound` that the check digits of its tax number hold: without that no tax moves to the buyer."""

    is_sold_by_us: bool
    tax_point: TaxPoint
    seller_country: str
    seller_is_registered: bool
    buyer_country: str
    buyer_is_company: bool
    buyer_has_tax_id: bool
    is_tax_id_sound: bool
    wants_invoice: bool
    price_minor: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """When it fits, on the left of `kind`; what follows, from `kind` on. `category=None`: by the catalogue's rate.

    With `states_national_tax` the tax stands in the seller's national currency too, with `states_place` the place of
    supply. `note_title` is what a credit note on it calls itself."""

    name: str
    source: str
    seller: Seller = "any"
    registered: Registered = "any"
    tax_point: TaxPoint = "sale"
    buyer: Place = "any"
    who: Party = "any"
    is_small: bool = False
    kind: Kind
    title: TitleKey
    category: TaxCategory | None = None
    exemption_code: str = ""
    mentions: tuple[MentionKey, ...] = ()
    has_xml: bool = False
    states_national_tax: bool = False
    states_place: bool = False
    note_title: TitleKey = "credit_note"

    @property
    def is_untaxed(self) -> bool:
        return self.category in ("AE", "O")


TABLE: tuple[Row, ...] = (
    Row(
        name="merchant of record",
        source="Dir. 2006/112/EC Art. 28; Impl. Reg. 282/2011 Art. 9a",
        seller="other",
        kind="payment_confirmation",
        title="payment_confirmation",
        category="O",
        mentions=("not_a_tax_invoice",),
        note_title="refund_confirmation",
    ),
    Row(
        name="multi-purpose voucher",
        source="Dir. 2006/112/EC Art. 30a, 30b(2)",
        tax_point="redemption",
        kind="receipt",
        title="receipt",
        category="O",
        mentions=("voucher",),
    ),
    Row(
        name="EU, not registered",
        source="Dir. 2006/112/EC Art. 203, 220",
        seller="EU",
        registered="unregistered",
        kind="receipt",
        title="receipt",
        category="O",
        mentions=("not_registered",),
    ),
    Row(
        name="EU to a taxable person in another member state",
        source="Dir. 2006/112/EC Art. 44, 196, 220a(2), 226(4), 226(11a)",
        seller="EU",
        buyer="other_eu",
        who="taxable",
        kind="invoice",
        title="invoice",
        category="AE",
        exemption_code="VATEX-EU-AE",
        mentions=("reverse_charge",),
        has_xml=True,
    ),
    Row(
        name="EU to a company outside the EU",
        source="Dir. 2006/112/EC Art. 44, 59",
        seller="EU",
        buyer="outside_eu",
        who="company",
        kind="invoice",
        title="invoice",
        category="O",
        exemption_code="VATEX-EU-O",
        mentions=("outside_scope",),
        has_xml=True,
    ),
    Row(
        name="EU to a company",
        source="Dir. 2006/112/EC Art. 220(1), 226, 230",
        seller="EU",
        who="company",
        kind="invoice",
        title="invoice",
        has_xml=True,
        states_national_tax=True,
    ),
    Row(
        name="EU, small amount",
        source="Dir. 2006/112/EC Art. 220a, 226b, 238",
        seller="EU",
        buyer="same",
        is_small=True,
        kind="simplified_invoice",
        title="simplified_invoice",
        states_national_tax=True,
    ),
    Row(
        name="GB, not registered",
        source="VAT Act 1994 Sch. 11 para. 2A",
        seller="GB",
        registered="unregistered",
        kind="receipt",
        title="receipt",
        category="O",
        mentions=("not_registered",),
    ),
    Row(
        name="GB to a company abroad",
        source="VAT Act 1994 s. 7A(2)(a); VAT Notice 741A",
        seller="GB",
        buyer="abroad",
        who="company",
        kind="invoice",
        title="invoice",
        category="O",
        exemption_code="VATEX-EU-O",
        mentions=("outside_scope",),
        has_xml=True,
    ),
    Row(
        name="GB to a company",
        source="VAT Regulations 1995 reg. 13, 14(1), 14(5)",
        seller="GB",
        who="company",
        kind="invoice",
        title="invoice",
        has_xml=True,
        states_national_tax=True,
    ),
    Row(
        name="GB, small amount",
        source="VAT Regulations 1995 reg. 16",
        seller="GB",
        buyer="same",
        is_small=True,
        kind="simplified_invoice",
        title="simplified_invoice",
        states_national_tax=True,
    ),
    Row(
        name="Japan, qualified invoice issuer",
        source="Consumption Tax Act Art. 57-4(1), (2); notes: Art. 57-4(3)",
        seller="JP",
        registered="registered",
        buyer="same",
        who="company",
        kind="invoice",
        title="qualified_invoice",
        states_national_tax=True,
        note_title="qualified_return_invoice",
    ),
    Row(
        name="Japan, qualified simplified invoice",
        source="Consumption Tax Act Art. 57-4(2); notes: Art. 57-4(3)",
        seller="JP",
        registered="registered",
        buyer="same",
        kind="simplified_invoice",
        title="qualified_simplified_invoice",
        states_national_tax=True,
        note_title="qualified_return_invoice",
    ),
    Row(
        name="Australia, registered, to a company",
        source="GST Act 1999 s. 9-85, 29-70; notes: s. 29-75",
        seller="AU",
        registered="registered",
        buyer="same",
        who="company",
        kind="invoice",
        title="tax_invoice",
        states_national_tax=True,
        note_title="adjustment_note",
    ),
    Row(
        name="Australia, registered, small amount",
        source="GST Act 1999 s. 29-70(1)(c)(ii): buyer's identity from A$1,000",
        seller="AU",
        registered="registered",
        buyer="same",
        is_small=True,
        kind="simplified_invoice",
        title="tax_invoice",
        states_national_tax=True,
        note_title="adjustment_note",
    ),
    Row(
        name="India, registered, to a company",
        source="CGST Rules 2017 r. 34, 46; notes: r. 53",
        seller="IN",
        registered="registered",
        buyer="same",
        who="company",
        kind="invoice",
        title="tax_invoice",
        mentions=("no_reverse_charge",),
        states_national_tax=True,
        states_place=True,
    ),
    Row(
        name="India, registered, advance",
        source="CGST Rules 2017 r. 34, 50; refunds: r. 51",
        seller="IN",
        registered="registered",
        buyer="same",
        kind="receipt",
        title="receipt_voucher",
        mentions=("no_reverse_charge",),
        states_national_tax=True,
        states_place=True,
        note_title="refund_voucher",
    ),
    Row(
        name="elsewhere, to a company",
        source="no general duty; commercial practice",
        who="company",
        kind="invoice",
        title="invoice",
    ),
    Row(
        name="everyone else",
        source="no duty to invoice private persons: Dir. 2006/112/EC Art. 220(1)",
        kind="receipt",
        title="receipt",
    ),
)

RECEIPT = TABLE[-1]


def row_for(sale: Sale) -> Row:
    """The first row that fits this sale."""
    return next(row for row in TABLE if _fits(row, sale))


def note_title_of(title: TitleKey, seller_country: str) -> TitleKey:
    """What a credit note on a document of that title calls itself, by the rows for sellers of that country."""
    rows = (row for row in TABLE if row.title == title and row.seller in ("any", "other", "EU", seller_country))
    return next((row.note_title for row in rows), "credit_note")


def category_of(row: Row, percent: Decimal) -> TaxCategory:
    """The row's own category, else what the rate makes it."""
    return row.category or ("S" if percent > 0 else "Z")


def _fits(row: Row, sale: Sale) -> bool:
    return (
        _fits_seller(row, sale)
        and (row.tax_point == sale.tax_point or row.seller == "other")
        and (row.registered == "any" or (row.registered == "registered") == sale.seller_is_registered)
        and _fits_buyer(row, sale)
        and (not row.is_small or _is_small(sale))
    )


def _fits_seller(row: Row, sale: Sale) -> bool:
    if row.seller == "other" or not sale.is_sold_by_us:
        return row.seller == "other" and not sale.is_sold_by_us
    if row.seller == "EU":
        return sale.seller_country in EU
    return row.seller in ("any", sale.seller_country)


def _fits_buyer(row: Row, sale: Sale) -> bool:
    """An invoice is made unasked for who gives a tax number; a company without one asks for it."""
    seller, buyer = sale.seller_country, sale.buyer_country
    is_company = sale.buyer_is_company and (sale.buyer_has_tax_id or sale.wants_invoice)
    who = {"any": True, "company": is_company, "taxable": is_company and sale.is_tax_id_sound}[row.who]
    place = {
        "any": True,
        "same": buyer == seller,
        "other_eu": buyer in EU and buyer != seller,
        "outside_eu": bool(buyer) and buyer not in EU,
        "abroad": bool(buyer) and buyer != seller,
    }[row.buyer]
    return who and place


def _is_small(sale: Sale) -> bool:
    if sale.seller_country == "AU":
        return sale.currency == "AUD" and sale.price_minor < 100_000
    limit, currency = SIMPLIFIED_UP_TO.get(sale.seller_country, EU_SIMPLIFIED_UP_TO)
    return sale.currency == currency and sale.price_minor <= limit
