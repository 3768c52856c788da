"""What came of charging a saved card: noted in the transaction that applies the payment's facts, once for each end."""

import hmac
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.rules.descriptions import money_label
from engine.rules.facts import Fact
from engine.rules.money import Money
from engine.rules.recharge import CONFIRM_WITHIN, FAILURES_MAX, backoff, decline_kind
from engine.runtime import Runtime
from engine.store import books, outbox, recharges
from engine.store.tables import AutoRechargeRow, PaymentMethodRow, PurchaseRow, RechargeRow

LOOK_AGAIN = timedelta(hours=1)
"""How often a charge that is on its way is looked at, in case its webhook is lost."""

ENDED = ("failed", "cancelled", "expired")


def note_charge(session: Session, runtime: Runtime, purchase: PurchaseRow, facts: tuple[Fact, ...]) -> None:
    """Bring a charge's row to what its purchase has become; the wallet is locked."""
    row = session.get(RechargeRow, (purchase.account_id, purchase.purchase_id))
    if row is None or row.status == "succeeded":
        return
    payment = next((fact for fact in reversed(facts) if fact.kind == "payment"), None)
    if payment is not None:
        row.payment_id = payment.object_id
    now = runtime.clock.now()
    decline = payment.decline if payment is not None else None
    if purchase.landed_at is not None or purchase.status == "quarantined":
        _succeeded(session, runtime, purchase, row, now)
    elif row.status == "failed":
        return
    elif purchase.status in ENDED:
        fail(session, runtime, purchase, row, decline or row.decline or purchase.status)
    elif decline is not None and decline_kind(decline) == "authentication":
        _ask_customer(session, runtime, purchase, row, decline, now)
    elif purchase.status == "processing" and row.status != "processing":
        row.status = "processing"
        row.due_at = now + LOOK_AGAIN
    session.add(row)


def fail(session: Session, runtime: Runtime, purchase: PurchaseRow, row: RechargeRow, code: str) -> None:
    """The card was not charged: tell the customer at once, leave the card alone for a while, switch off in the end."""
    now, account_id = runtime.clock.now(), row.account_id
    _end(session, purchase, row, code, f"declined: {code}", now)
    wanted = session.get(AutoRechargeRow, account_id)
    told = {**_told(session, purchase, row), "decline": code}
    outbox.emit(session, account_id, "auto_recharge.failed", told, now)
    outbox.enqueue(session, account_id, "notice", {"notice": "autoRechargeFailed", **_texts(purchase, told)}, now)
    if wanted is None:
        return
    wish = recharges.wish_of(wanted)
    wanted.failures += 1
    wanted.backoff_until_at = now + backoff(code)
    is_off = wanted.is_enabled and wanted.failures >= FAILURES_MAX
    if is_off:
        wanted.is_enabled = False
        facts = {"notice": "autoRechargeOff", "reason": "declined", "failures": wanted.failures}
        outbox.enqueue(session, account_id, "notice", facts, now)
        recharges.arm(session, account_id, None)
    wanted.updated_at = now
    session.add(wanted)
    available = books.lock_wallets(session, [account_id], now)[account_id].wallet.available_credits
    reason = f"{'switched_off_after_decline' if is_off else 'declined'}:{code}"
    recharges.note(session, account_id, wish, available, reason[:200], now, purchase_id=purchase.purchase_id)
    if not is_off:
        recharges.ask(session, account_id, now, now)


def withdraw(session: Session, runtime: Runtime, purchase: PurchaseRow, row: RechargeRow, reason: str) -> None:
    """The provider was not asked, or knows of nothing: no decline, so nobody is told and no card is left alone."""
    now, account_id = runtime.clock.now(), row.account_id
    _end(session, purchase, row, reason, reason, now)
    wish = recharges.wish_of(session.get(AutoRechargeRow, account_id))
    available = books.lock_wallets(session, [account_id], now)[account_id].wallet.available_credits
    recharges.note(session, account_id, wish, available, reason, now, purchase_id=purchase.purchase_id)
    recharges.ask(session, account_id, now, now)


def _end(session: Session, purchase: PurchaseRow, row: RechargeRow, code: str, problem: str, now: datetime) -> None:
    """The charge has come to nothing, and so has its purchase."""
    row.status = "failed"
    row.decline = code[:200]
    row.ended_at = now
    session.add(row)
    if purchase.status in ("created", "open", "processing"):
        purchase.status = "failed"
        purchase.problem = problem[:500]
        purchase.updated_at = now
        session.add(purchase)


def confirm_link(runtime: Runtime, purchase_id: str) -> str:
    """Where the customer confirms a payment that their bank wants them for; the link is the only credential needed."""
    token = _token(runtime.secrets.signing("recharge confirmation"), purchase_id)
    return f"{runtime.base_url}/auto-recharge/confirm/{purchase_id}?token={token}"


def is_confirm_token(runtime: Runtime, purchase_id: str, token: str) -> bool:
    """Whether we made this link."""
    keys = runtime.secrets.all_for("recharge confirmation")
    return any(hmac.compare_digest(_token(key, purchase_id).encode(), token.encode()) for key in keys)


def _token(key: bytes, purchase_id: str) -> str:
    return hmac.digest(key, purchase_id.encode(), "sha256").hex()


def _ask_customer(
    session: Session, runtime: Runtime, purchase: PurchaseRow, row: RechargeRow, code: str, now: datetime
) -> None:
    """The bank wants the customer: mail a link to confirm this same payment. A second charge never starts meanwhile."""
    if row.status == "requires_action":
        return
    row.status = "requires_action"
    row.decline = code
    row.due_at = now + CONFIRM_WITHIN
    wanted = session.get(AutoRechargeRow, row.account_id)
    available = books.lock_wallets(session, [row.account_id], now)[row.account_id].wallet.available_credits
    wish = recharges.wish_of(wanted)
    recharges.note(session, row.account_id, wish, available, code, now, purchase_id=row.purchase_id)
    link = confirm_link(runtime, row.purchase_id)
    told = _texts(purchase, _told(session, purchase, row))
    outbox.enqueue(session, row.account_id, "notice", {"notice": "autoRechargeConfirm", "link": link, **told}, now)


def _succeeded(session: Session, runtime: Runtime, purchase: PurchaseRow, row: RechargeRow, now: datetime) -> None:
    row.status = "succeeded"
    row.decline = None
    row.ended_at = now
    wanted = session.get(AutoRechargeRow, row.account_id)
    if wanted is not None:
        wanted.failures = 0
        wanted.backoff_until_at = None
        session.add(wanted)
    if purchase.landed_at is not None:
        outbox.emit(session, row.account_id, "auto_recharge.succeeded", _told(session, purchase, row), now)
    recharges.ask(session, row.account_id, now, now)


def _told(session: Session, purchase: PurchaseRow, row: RechargeRow) -> dict[str, object]:
    """What an outgoing event says of a charge."""
    card = session.get(PaymentMethodRow, (row.account_id, row.method_id))
    return {
        "purchaseId": purchase.purchase_id,
        "amountMinor": purchase.amount_minor,
        "currency": purchase.currency,
        "creditsGranted": str(purchase.base_credits + purchase.bonus_credits if purchase.landed_at else 0),
        "provider": purchase.provider,
        "last4": card.last4 if card is not None else "",
    }


def _texts(purchase: PurchaseRow, told: dict[str, object]) -> dict[str, object]:
    """The same for a mail, with the amount as a person reads it."""
    return {**told, "amount": money_label(Money(purchase.amount_minor, purchase.currency))}
