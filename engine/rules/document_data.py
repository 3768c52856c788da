"""The data of a document as it is frozen when issued: who sold what to whom, for how much, and with which credits.

Fields with a default are left out of the serialised form while they have it, so a field added later changes the
bytes of no older document.
"""

from datetime import date, datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.lots import NEVER, Bucket

Kind = Literal["receipt", "simplified_invoice", "invoice", "credit_note", "payment_confirmation"]
LineKey = Literal[
    "top_up",
    "auto_recharge",
    "bonus",
    "coupon",
    "commit",
    "subscription",
    "refund",
    "refund_bonus",
    "refund_coupon",
    "cancellation",
    "given_back",
    "given_back_bonus",
    "given_back_coupon",
]
TitleKey = Literal[
    "receipt",
    "receipt_voucher",
    "simplified_invoice",
    "invoice",
    "tax_invoice",
    "qualified_invoice",
    "qualified_simplified_invoice",
    "credit_note",
    "adjustment_note",
    "qualified_return_invoice",
    "refund_voucher",
    "cancellation",
    "correction",
    "payment_confirmation",
    "refund_confirmation",
]
MentionKey = Literal[
    "reverse_charge",
    "no_reverse_charge",
    "outside_scope",
    "not_registered",
    "voucher",
    "not_a_tax_invoice",
    "refund_failed",
]
TaxCategory = Literal["S", "Z", "AE", "O"]
Instant = Annotated[datetime, Meta(tz=True)]
Natural = Annotated[int, Meta(ge=0)]

LINES_MAX = 1_000
COUPON_LINES: tuple[LineKey, ...] = ("coupon", "refund_coupon", "given_back_coupon")

TEMPLATE_VERSION = 1
"""What new documents are rendered with; an older document keeps the template it was issued with."""


class Issuer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who sells, as the catalogue's `[seller]` said when the document was issued."""

    name: str
    address_lines: tuple[str, ...]
    country: str
    email: str
    website: str
    vat_id: str | None = None
    example: bool = False
    registration_id: str = ""
    postal_code: str = ""
    city: str = ""


class Buyer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who bought, as the account's profile said then; what is unknown is empty.

    `address_lines` is the whole address as it is printed; `street_lines` and what follows are its parts, for the
    machine-readable invoice.
    """

    name: str = ""
    email: str = ""
    company: str = ""
    tax_id: str = ""
    address_lines: tuple[str, ...] = ()
    country: str = ""
    street_lines: tuple[str, ...] = ()
    postal_code: str = ""
    city: str = ""
    region: str = ""

    @property
    def is_company(self) -> bool:
        """Whether a company's name and billing address are known: what an invoice names."""
        return bool(self.company and self.address_lines and self.country)


class UnitName(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a credit is called; with `shown_as_usd`, credits are printed as dollars, `credits_per_usd` to one."""

    singular: str
    plural: str
    credits_per_usd: int | None = None
    shown_as_usd: bool = False


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One thing bought or given back: a phrase by its key, filled with `detail` (a coupon's or plan's name) and
    `count` (a commit plan's months).

    `amount_minor` stands as the price does: with tax if prices include it. Without `expires_at` it never expires.
    """

    key: LineKey
    credits: Natural
    amount_minor: Natural
    bucket: Bucket | None = None
    expires_at: Instant | None = None
    detail: str = ""
    count: int | None = None
    bonus: bool = False


def coupon_line(credits: int, code: str, bucket: Bucket | None, key: LineKey = "coupon") -> Line:
    """What a coupon adds to a purchase, or what is taken of it again."""
    return Line(key=key, credits=credits, amount_minor=0, bucket=bucket, detail=code, bonus=True)


class NationalTax(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """The document's tax in the currency that tax is reported in: `rate` of it for one unit of the document's own,
    by `source`, since that day. `minor=None`: no rate was known when it was issued."""

    currency: str
    minor: Natural | None = None
    rate: str = ""
    source: str = ""
    since: date | None = None


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A document as issued. Amounts are minor units of `currency`, positive on credit notes too.

    One rate and one category of tax: what is sold is one kind of service, to one buyer, in one place.
    `net_minor + tax_minor = total_minor`; the lines' amounts sum to the total where prices include tax and to the net
    where tax comes on top; their credits sum to `credits_total`. Times are UTC, printed in `timezone`. A credit note
    names its original; what replaces another document names that one, and so does what cancels a credit note whose
    refund failed. `sold_by` is a merchant of record.
    """

    document_id: str
    kind: Kind
    number: str
    issued_at: Instant
    paid_at: Instant
    locale: str
    timezone: str
    currency: str
    seller: Issuer
    buyer: Buyer
    unit: UnitName
    lines: Annotated[tuple[Line, ...], Meta(min_length=1, max_length=LINES_MAX)]
    prices_include_tax: bool
    tax_label: str
    tax_percent: str
    net_minor: Natural
    tax_minor: Natural
    total_minor: Natural
    credits_total: Natural
    order_id: str
    provider: str
    template_version: int
    payment_id: str | None = None
    price_per_credit: str | None = None
    original_number: str | None = None
    original_issued_at: Instant | None = None
    reason: str | None = None
    notes: tuple[str, ...] = ()
    title: TitleKey | None = None
    tax_category: TaxCategory | None = None
    exemption_code: str = ""
    mentions: tuple[MentionKey, ...] = ()
    has_xml: bool = False
    sold_by: str = ""
    purchase_order: str = ""
    balance_after_credits: int | None = None
    original_kind: Kind | None = None
    replaces_number: str | None = None
    replaces_issued_at: Instant | None = None
    cancels_number: str | None = None
    cancels_issued_at: Instant | None = None
    national_tax: NationalTax | None = None
    service_code: str = ""
    place_of_supply: str = ""

    def __post_init__(self) -> None:
        ends = tuple(line.expires_at for line in self.lines if line.expires_at is not None)
        for instant in (self.issued_at, self.paid_at, *ends):
            if instant.utcoffset() != timedelta(0):
                raise ValueError(f"{instant} is not in UTC")
        if NEVER in ends:
            raise ValueError("what never expires has no expires_at")
        if min(self.net_minor, self.tax_minor) < 0 or self.net_minor + self.tax_minor != self.total_minor:
            raise ValueError("net and tax do not add up to the total")
        if sum(line.amount_minor for line in self.lines) != self.priced_minor:
            raise ValueError("the lines do not add up")
        if sum(line.credits for line in self.lines) != self.credits_total:
            raise ValueError("the lines' credits do not add up")
        if (self.kind == "credit_note") != (self.original_number is not None and self.reason is not None):
            raise ValueError("a credit note, and nothing else, names its original and a reason")
        if self.cancels_number is not None and self.kind == "credit_note":
            raise ValueError("what cancels a credit note charges again")
        if self.tax_category in ("AE", "O") and (self.tax_minor or self.tax_percent != "0"):
            raise ValueError("reverse charge and what is outside the scope carry no tax")
        if self.has_xml and (self.tax_category is None or "invoice" not in (self.kind, self.original_kind)):
            raise ValueError("only invoices and their credit notes are machine-readable")

    @property
    def priced_minor(self) -> int:
        """What the lines sum to: the total, or the net where tax comes on top of prices."""
        return self.total_minor if self.prices_include_tax else self.net_minor

    @property
    def bonus_credits(self) -> int:
        """What was given beside the base credits, a coupon's included."""
        return sum(line.credits for line in self.lines if line.bonus)

    @property
    def coupon_credits(self) -> int:
        """The part of `bonus_credits` that a coupon gave."""
        return sum(line.credits for line in self.lines if line.key in COUPON_LINES)

    @property
    def coupon(self) -> str:
        """The code of the coupon, or nothing."""
        return next((line.detail for line in self.lines if line.key in COUPON_LINES), "")
