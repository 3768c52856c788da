"""Issuing receipts and credit notes: frozen data and a gap-free number, in one short transaction of its own.

A document is unique per purchase, kind and cause, so issuing again is finding it. Money has moved before; a document
that can't be issued now is issued later by the same job.
"""

from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import replace
from sqlmodel import Session

from engine.clock import new_id
from engine.flows.notify import write_mail
from engine.rules import documents as rules
from engine.rules.document_data import Buyer, Document, Kind, Line
from engine.rules.money import Money
from engine.rules.quotes import price_per_credit
from engine.runtime import Runtime
from engine.store import documents, outbox, purchases
from engine.store.database import transact
from engine.store.tables import AccountRow, DocumentRow, FactRow, PurchaseRow, ReversalRow


def issue_receipt(runtime: Runtime, account_id: str, purchase_id: str) -> DocumentRow:
    """Issue the receipt of a paid purchase, or find it; the mail that announces it is written with it."""
    return transact(runtime.db, lambda session: _issue_receipt(session, runtime, account_id, purchase_id))


def issue_credit_note(runtime: Runtime, account_id: str, purchase_id: str, fact_id: str) -> DocumentRow:
    """Issue the credit note for one refund that succeeded, or find it; the receipt is issued first if it is not."""
    return transact(runtime.db, lambda session: _issue_credit_note(session, runtime, account_id, purchase_id, fact_id))


def _issue_receipt(session: Session, runtime: Runtime, account_id: str, purchase_id: str) -> DocumentRow:
    there = documents.find_document(session, account_id, purchase_id, "receipt", "payment")
    if there is not None:
        return there
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    account = session.get(AccountRow, account_id)
    assert purchase is not None and account is not None and purchase.landed_at is not None
    there = documents.find_document(session, account_id, purchase_id, "receipt", "payment")
    if there is not None:
        return there
    now = runtime.clock.now()
    catalog = runtime.catalog
    price = Money(purchase.amount_minor, purchase.currency)
    credits = purchase.base_credits + purchase.bonus_credits
    series, number, n = number_for(session, runtime, "receipt", now)
    document = rules.receipt(
        document_id=new_id("doc", now),
        number=number,
        issued_at=now,
        paid_at=purchase.landed_at,
        locale=account.locale,
        timezone=catalog.seller.timezone,
        seller=catalog.seller,
        tax=catalog.tax,
        unit=catalog.unit,
        buyer=buyer_of(account),
        lines=_lines(purchase, price),
        price=price,
        price_per_credit=price_per_credit(price, credits) if purchase.subscription_id is None else None,
        order_id=purchase.purchase_id,
        payment_id=purchase.provider_reference,
        provider=purchase.provider,
    )
    row = keep(session, purchase, document, "payment", series, n)
    write_mail(session, runtime, account, "paymentConfirmed", purchase=purchase, document=row, now=now)
    return row


def _lines(purchase: PurchaseRow, price: Money) -> tuple[Line, ...]:
    """What was bought: credits and their bonus, or a subscription's period with the credits granted for it."""
    credits = purchase.base_credits
    if purchase.subscription_id is not None:
        line = Line(key="subscription", credits=credits, amount_minor=price.minor, detail=purchase.tier)
        return (replace(line, bucket="monthly") if credits > 0 else line,)
    lines = [Line(key="top_up", credits=credits, amount_minor=price.minor, bucket="recharge")]
    if purchase.bonus_credits > 0:
        lines.append(Line(key="bonus", credits=purchase.bonus_credits, amount_minor=0, bucket="recharge", bonus=True))
    return tuple(lines)


def _issue_credit_note(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, fact_id: str
) -> DocumentRow:
    receipt = _issue_receipt(session, runtime, account_id, purchase_id)
    there = documents.find_document(session, account_id, purchase_id, "credit_note", fact_id)
    if there is not None:
        return there
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    account = session.get(AccountRow, account_id)
    fact = session.get(FactRow, (account_id, purchase_id, fact_id))
    assert purchase is not None and account is not None and fact is not None
    notes = [row for row in documents.documents_of(session, account_id, purchase_id) if row.kind == "credit_note"]
    already = next((row for row in notes if row.cause == fact_id), None)
    if already is not None:
        return already
    if fact.state == "failed":  # it failed before its note was written: there is nothing to credit
        return receipt
    earlier = [row for row in notes if not is_cancelled(session, row)]
    now = runtime.clock.now()
    original = rules.read(receipt.data.encode())
    credited = sum(row.amount_minor for row in earlier)
    amount = min(fact.amount_minor, original.total_minor - credited)
    if amount <= 0:  # the provider says more than was paid: what was paid is credited already
        return earlier[-1]
    credits, bonus = _credits_back(purchase, fact, amount)
    reversal = session.get(ReversalRow, (account_id, fact_id))
    series, number, n = number_for(session, runtime, "credit_note", now)
    document = rules.credit_note(
        original,
        document_id=new_id("doc", now),
        number=number,
        issued_at=now,
        refunded_at=now,
        reason=reversal.reason if reversal else "Refund",
        refunded_minor=amount,
        credits=credits,
        bonus_credits=bonus,
        already_credited_minor=credited,
        already_credited_tax_minor=sum(row.tax_minor for row in earlier),
        payment_id=purchase.provider_reference,
    )
    row = keep(session, purchase, document, fact_id, series, n)
    write_mail(session, runtime, account, "refunds", purchase=purchase, document=row, now=now)
    return row


def is_cancelled(session: Session, note: DocumentRow) -> bool:
    """Whether a credit note's refund failed after all: it counts no more against what may be credited."""
    fact = session.get(FactRow, (note.account_id, note.purchase_id, note.cause))
    return fact is not None and fact.state == "failed"


def _credits_back(purchase: PurchaseRow, fact: FactRow, amount_minor: int) -> tuple[int, int]:
    """Credits this refund took, and how many of them were bonus: the bonus goes first, as it was taken."""
    granted = purchase.base_credits + purchase.bonus_credits
    credits = fact.own_credits
    if credits is None:
        credits = granted * amount_minor // purchase.amount_minor
    return credits, min(purchase.bonus_credits, credits)


def number_for(session: Session, runtime: Runtime, kind: Kind, now: datetime) -> tuple[str, str, int]:
    """(series, number, place in the series). Taken last, so that the series row is locked shortly."""
    prefix = runtime.catalog.seller.series_prefix
    year = now.astimezone(ZoneInfo(runtime.catalog.seller.timezone)).year
    series = rules.document_number(prefix, kind, year, 1).split("-")[0]
    n = documents.take_number(session, series)
    return series, rules.document_number(prefix, kind, year, n), n


def keep(session: Session, purchase: PurchaseRow, document: Document, cause: str, series: str, n: int) -> DocumentRow:
    row = DocumentRow(
        account_id=purchase.account_id,
        document_id=document.document_id,
        purchase_id=purchase.purchase_id,
        kind=document.kind,
        cause=cause,
        series=series,
        number_in_series=n,
        number=document.number,
        original_number=document.original_number,
        amount_minor=document.total_minor,
        tax_minor=document.tax_minor,
        currency=document.currency,
        data=rules.canonical(document).decode(),
        digest=rules.digest(document),
        issued_at=document.issued_at,
    )
    session.add(row)
    session.flush()
    data: dict[str, object] = {"receiptId": row.document_id, "number": row.number, "kind": row.kind}
    data |= {"purchaseId": row.purchase_id, "amountMinor": row.amount_minor, "currency": row.currency}
    outbox.emit(session, purchase.account_id, "receipt.issued", data, document.issued_at)
    return row


def buyer_of(account: AccountRow) -> Buyer:
    """The account's profile as a document names it."""
    profile = msgspec.json.decode(account.profile, type=dict[str, object])
    address = profile.get("address")
    lines: list[str] = []
    if isinstance(address, dict):
        town = " ".join(str(address.get(part) or "") for part in ("postalCode", "city")).strip()
        parts = [address.get("line1"), address.get("line2"), town, address.get("region")]
        lines = [str(part) for part in parts if part]
    return Buyer(
        name=account.name or "",
        email=account.email or "",
        company=str(profile.get("company") or ""),
        tax_id=str(profile.get("taxId") or ""),
        address_lines=tuple(lines),
        country=account.country or "",
    )
