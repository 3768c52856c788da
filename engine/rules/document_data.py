"""The data of a document as it is frozen when issued: who sold what to whom, for how much, and with which credits.

Fields with a default are left out of the serialised form while they have it, so a field added later changes the
bytes of no older document.
"""

from datetime import datetime, timedelta
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from engine.rules.lots import NEVER, Bucket

Kind = Literal["receipt", "credit_note"]
LineKey = Literal["top_up", "auto_recharge", "bonus", "coupon", "commit", "subscription", "refund", "refund_bonus"]
Instant = Annotated[datetime, Meta(tz=True)]
Natural = Annotated[int, Meta(ge=0)]

LINES_MAX = 100


class Issuer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who sells, as the catalogue's `[seller]` said when the document was issued."""

    name: str
    address_lines: tuple[str, ...]
    country: str
    email: str
    website: str
    vat_id: str | None = None
    example: bool = False


class Buyer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """Who bought, as the account's profile said then; what is unknown is empty."""

    name: str = ""
    email: str = ""
    company: str = ""
    tax_id: str = ""
    address_lines: tuple[str, ...] = ()
    country: str = ""


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


class Document(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A receipt or a credit note as issued. Amounts are minor units of `currency`, positive on credit notes too.

    `net_minor + tax_minor = total_minor`; the lines' amounts sum to the total where prices include tax and to the
    net where tax comes on top; their credits sum to `credits_total`. Times are UTC, printed in `timezone`.
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

    @property
    def priced_minor(self) -> int:
        """What the lines sum to: the total, or the net where tax comes on top of prices."""
        return self.total_minor if self.prices_include_tax else self.net_minor

    @property
    def bonus_credits(self) -> int:
        return sum(line.credits for line in self.lines if line.bonus)
