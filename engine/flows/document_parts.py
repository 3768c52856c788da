"""The parts every document is issued from: the buyer, the row of the table that fits, the number, the stored row."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from sqlmodel import Session

from engine.clock import new_id
from engine.rules import documents as rules
from engine.rules.document_chain import FIRST, link
from engine.rules.document_data import Buyer, Document, Kind, Line
from engine.rules.document_kinds import Row, Sale, row_for
from engine.rules.money import Money
from engine.rules.sellers import Tax
from engine.rules.tax_ids import is_sound_tax_id
from engine.runtime import Runtime
from engine.store import documents, outbox
from engine.store.tables import AccountRow, DocumentRow

STORED_KIND: dict[Kind, str] = {"simplified_invoice": "invoice"}
"""What the API calls a kind, where it is another word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Something that was paid: a purchase, or a subscription's payment. `lines` sum to `price`."""

    order_id: str
    provider: str
    payment_id: str | None
    paid_at: datetime
    price: Money
    lines: tuple[Line, ...]
    price_per_credit: str | None = None
    balance_after_credits: int | None = None


@dataclass(frozen=True, slots=True)
class Reissue:
    """An invoice asked for: the document it replaces and the buyer's own order number."""

    of: Document
    purchase_order: str


def compose(
    session: Session, runtime: Runtime, account: AccountRow, order: Order, reissue: Reissue | None = None
) -> tuple[Document, "Numbered"]:
    """The document of an order with the next number of its series, which stays locked to the end."""
    catalog, now = runtime.catalog, runtime.clock.now()
    buyer = buyer_of(account)
    row = row_of(runtime, buyer, order, wants_invoice=reissue is not None)
    number = take_number(session, runtime, row.kind, now)
    document = rules.receipt(
        document_id=new_id("doc", now),
        number=number.number,
        issued_at=now,
        paid_at=order.paid_at,
        locale=account.locale,
        timezone=catalog.seller.timezone,
        seller=catalog.seller,
        tax=tax_of(runtime, order.provider),
        unit=catalog.unit,
        buyer=buyer,
        lines=order.lines,
        price=order.price,
        price_per_credit=order.price_per_credit,
        order_id=order.order_id,
        payment_id=order.payment_id,
        provider=order.provider,
        row=row,
    )
    more: dict[str, object] = {
        "sold_by": merchant(runtime, order.provider) or "",
        "balance_after_credits": order.balance_after_credits,
    }
    if reissue is not None:
        more |= {"purchase_order": reissue.purchase_order}
        more |= {"replaces_number": reissue.of.number, "replaces_issued_at": reissue.of.issued_at}
    return msgspec.structs.replace(document, **more), number


def row_of(runtime: Runtime, buyer: Buyer, order: Order, *, wants_invoice: bool) -> Row:
    """The row of the table for this sale."""
    seller = runtime.catalog.seller
    return row_for(
        Sale(
            is_sold_by_us=merchant(runtime, order.provider) is None,
            tax_point=runtime.catalog.tax.tax_point,
            seller_country=seller.country,
            seller_is_registered=bool(seller.vat_id),
            buyer_country=buyer.country,
            buyer_is_company=buyer.is_company,
            buyer_has_tax_id=bool(buyer.tax_id),
            is_tax_id_sound=is_sound_tax_id(buyer.tax_id, buyer.country),
            wants_invoice=wants_invoice,
            price_minor=order.price.minor,
            currency=order.price.currency,
        )
    )


def merchant(runtime: Runtime, provider: str) -> str | None:
    """Who sells in our place through this provider, if anybody does."""
    known = runtime.providers.get(provider)
    return known.merchant_of_record if known is not None else None


def tax_of(runtime: Runtime, provider: str) -> Tax:
    """The tax as it stands in what was charged: only a merchant of record adds it on top, all else includes it."""
    tax = runtime.catalog.tax
    return tax if merchant(runtime, provider) else msgspec.structs.replace(tax, prices_include_tax=True)


@dataclass(frozen=True, slots=True)
class Numbered:
    """A number taken: `n`th of its series."""

    series: str
    number: str
    n: int


def take_number(session: Session, runtime: Runtime, kind: Kind, now: datetime) -> Numbered:
    """Taken last, so that the series row is locked shortly."""
    prefix = runtime.catalog.seller.series_prefix
    year = now.astimezone(ZoneInfo(runtime.catalog.seller.timezone)).year
    series = rules.document_number(prefix, kind, year, 1).split("-")[0]
    n = documents.take_number(session, series)
    return Numbered(series, rules.document_number(prefix, kind, year, n), n)


def keep(
    session: Session, runtime: Runtime, account_id: str, document: Document, cause: str, number: Numbered
) -> DocumentRow:
    """Store a document with its link in the series' chain; its event and the making of its PDF follow the commit."""
    digest = rules.digest(document)
    before = documents.series_head(session, number.series) or FIRST
    row = DocumentRow(
        account_id=account_id,
        document_id=document.document_id,
        purchase_id=document.order_id,
        kind=STORED_KIND.get(document.kind, document.kind),
        cause=cause,
        series=number.series,
        number_in_series=number.n,
        number=document.number,
        original_number=document.original_number or document.cancels_number,
        amount_minor=document.total_minor,
        tax_minor=document.tax_minor,
        currency=document.currency,
        data=rules.canonical(document).decode(),
        digest=digest,
        chain=link(runtime.terms.chain_key, before, account_id, document.number, digest),
        issued_at=document.issued_at,
    )
    session.add(row)
    session.flush()
    documents.set_series_head(session, number.series, row.chain or FIRST)
    data: dict[str, object] = {"receiptId": row.document_id, "number": row.number, "kind": row.kind}
    data |= {"purchaseId": row.purchase_id, "amountMinor": row.amount_minor, "currency": row.currency}
    outbox.emit(session, account_id, "receipt.issued", data, document.issued_at)
    outbox.enqueue(session, account_id, "pdf", {"documentId": row.document_id}, document.issued_at)
    return row


def buyer_of(account: AccountRow) -> Buyer:
    """The account's profile as a document names it; the billing address's country counts, else the account's."""
    profile = msgspec.json.decode(account.profile, type=dict[str, object])
    found = profile.get("address")
    address = {key: str(value or "") for key, value in found.items()} if isinstance(found, dict) else {}
    street = tuple(part for part in (address.get("line1", ""), address.get("line2", "")) if part)
    postal_code, city, region = (address.get(part, "") for part in ("postalCode", "city", "region"))
    town = f"{postal_code} {city}".strip()
    return Buyer(
        name=account.name or "",
        email=account.email or "",
        company=str(profile.get("company") or ""),
        tax_id=str(profile.get("taxId") or ""),
        address_lines=tuple(part for part in (*street, town, region) if part),
        country=address.get("country") or account.country or "",
        street_lines=street,
        postal_code=postal_code,
        city=city,
        region=region,
    )
