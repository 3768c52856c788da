"""Auto-recharge: decided under the wallet's lock, charged with no lock held, credited as any payment is.

A change that leaves too little writes an outbox row (`store/triggers.py`); `look` answers it: purchase, charge row and
decision in one transaction. Then a job asks the provider with a key made from the purchase. One charge is in flight
per wallet, because its row is, by a unique index; what a month may cost is summed up under the same lock.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session

from engine.clock import new_id
from engine.flows import months
from engine.flows.converge import apply_facts
from engine.flows.recharge_outcome import LOOK_AGAIN, fail, withdraw
from engine.payments import (
    CardProvider,
    ChargeRequest,
    Fact,
    ProviderRefused,
    ProviderUnreachable,
    keeps_cards,
)
from engine.rules.catalog import PROVIDER_NAMES
from engine.rules.descriptions import describe, money_label
from engine.rules.errors import NotFound, Refusal
from engine.rules.ledger import Page
from engine.rules.money import Money
from engine.rules.quotes import Quote, quote
from engine.rules.recharge import (
    CONFIRM_WITHIN,
    Situation,
    Wish,
    day_start,
    decide,
    is_expired,
    month_start,
)
from engine.runtime import Runtime
from engine.store import books, cards, outbox, purchases, recharges
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, AutoRechargeRow, PaymentMethodRow, PurchaseRow, RechargeRow

CHARGE = "charge"
"""Outbox kind: charge the card of a purchase that auto-recharge made."""

SILENT = frozenset({"off", "above_threshold", "in_flight"})
"""Reasons that are no decision: nothing was wanted, or it is under way and its end is another decision."""

SOON = timedelta(minutes=10)


def look(runtime: Runtime, account_id: str) -> None:
    """Outbox kind `recharge`: decide for one wallet, now; what its month brings comes first."""
    months.turn(runtime, account_id)
    transact(runtime.db, lambda session: look_at(session, runtime, account_id))


def look_at(session: Session, runtime: Runtime, account_id: str) -> None:
    """The same in the caller's transaction, which may have changed what the customer wants."""
    now = runtime.clock.now()
    page = books.lock_wallets(session, [account_id], now).get(account_id)
    wanted = session.get(AutoRechargeRow, account_id)
    rules = runtime.catalog.auto_recharge
    if page is None or wanted is None or rules is None:
        return
    wish = recharges.wish_of(wanted)
    card = cards.live_card(session, account_id, wish.method_id)
    verdict = decide(wish, _situation(session, runtime, page, wanted, card), rules, now)
    recharges.arm(session, account_id, wish.threshold_credits if verdict.is_armed else None)
    if verdict.fires and recharges.was_taken_back(session, account_id, wanted.updated_at):
        _switch_off(session, page, wanted, now)
    elif verdict.fires:
        assert card is not None
        _fire(session, runtime, page, wish, card)
    elif verdict.reason not in SILENT:
        available = page.wallet.available_credits
        if verdict.reason == "card_expired" and recharges.last_reason(session, account_id) != "card_expired":
            told: dict[str, object] = {"notice": "autoRechargeFailed", "reason": "card_expired"}
            outbox.enqueue(session, account_id, "notice", told, now)
        recharges.note(session, account_id, wish, available, verdict.reason, now, again_at=verdict.again_at)
    if verdict.again_at is not None:
        recharges.ask(session, account_id, verdict.again_at, now)


def _switch_off(session: Session, page: Page, wanted: AutoRechargeRow, now: datetime) -> None:
    """Money that it took was taken back, or is disputed: the same card is not charged again until its owner says so."""
    account_id, wish = wanted.account_id, recharges.wish_of(wanted)
    wanted.is_enabled = False
    wanted.updated_at = now
    session.add(wanted)
    recharges.note(session, account_id, wish, page.wallet.available_credits, "taken_back", now)
    outbox.enqueue(session, account_id, "notice", {"notice": "autoRechargeOff", "reason": "taken_back"}, now)


def _situation(
    session: Session, runtime: Runtime, page: Page, wanted: AutoRechargeRow, card: PaymentMethodRow | None
) -> Situation:
    account_id, now = page.wallet.account_id, runtime.clock.now()
    account = session.get_one(AccountRow, account_id)
    provider = runtime.providers.get(card.provider) if card is not None else None
    return Situation(
        available_credits=page.wallet.available_credits,
        wallet_status=page.wallet.status,
        has_card=provider is not None and keeps_cards(provider),
        is_card_expired=card is not None and is_expired(card.exp_year, card.exp_month, now),
        may_top_up=runtime.catalog.may_top_up(account.plan),
        is_in_flight=recharges.in_flight(session, account_id) is not None,
        last_fired_at=recharges.last_fired_at(session, account_id),
        fired_today=recharges.fired_since(session, account_id, day_start(now)),
        charged_this_month_minor=recharges.charged_since(session, account_id, month_start(now)),
        backoff_until_at=wanted.backoff_until_at,
    )


def _fire(session: Session, runtime: Runtime, page: Page, wish: Wish, card: PaymentMethodRow) -> None:
    """The purchase at the ordinary quote, its charge's row, and the job that asks the provider after the commit."""
    assert wish.amount_minor is not None
    now, account_id, available = runtime.clock.now(), card.account_id, page.wallet.available_credits
    amount = Money(wish.amount_minor, runtime.catalog.pricing.currency)
    try:
        priced = quote(runtime.catalog.pricing, amount, card.provider)
    except Refusal as refusal:
        recharges.note(session, account_id, wish, available, f"not_sold:{refusal.code}", now)
        return
    purchase = _purchase(runtime, account_id, card, priced)
    session.add(purchase)
    session.flush()
    session.add(
        RechargeRow(
            account_id=account_id,
            purchase_id=purchase.purchase_id,
            method_id=card.method_id,
            amount_minor=amount.minor,
            currency=amount.currency,
            created_at=now,
            due_at=now,
        )
    )
    recharges.note(
        session,
        account_id,
        wish,
        available,
        "at_or_below_threshold",
        now,
        purchase_id=purchase.purchase_id,
        fired=True,
    )
    outbox.enqueue(session, account_id, CHARGE, {"purchaseId": purchase.purchase_id}, now)


def _purchase(runtime: Runtime, account_id: str, card: PaymentMethodRow, priced: Quote) -> PurchaseRow:
    now = runtime.clock.now()
    purchase_id = new_id("pay", now)
    words = runtime.catalog.descriptions.auto_recharge
    amount, provider = money_label(priced.amount), PROVIDER_NAMES[card.provider]
    back = f"{runtime.base_url}/top-up-credits/return?status=success&purchase={purchase_id}"
    return PurchaseRow(
        account_id=account_id,
        purchase_id=purchase_id,
        provider=card.provider,
        kind="auto_recharge",
        amount_minor=priced.amount.minor,
        currency=priced.amount.currency,
        base_credits=priced.base_credits,
        bonus_credits=priced.bonus_credits,
        tier=priced.tier.name,
        description=describe(words, amount=amount, provider=provider),
        success_url=back,
        cancel_url=back,
        actor="system",
        created_at=now,
        expires_at=now + CONFIRM_WITHIN,
        updated_at=now,
    )


@dataclass(frozen=True, slots=True)
class _Charge:
    """A charge with all that asking for it needs."""

    row: RechargeRow
    provider: CardProvider
    request: ChargeRequest
    is_card_gone: bool


def send_charge(runtime: Runtime, account_id: str, purchase_id: str) -> None:
    """Outbox kind `charge`: ask the provider and apply its answer; safe to repeat at any point.

    `ProviderUnreachable` asks again with the same key, for as long as providers remember keys; after that the
    payment is only looked up, because the same key would charge a second time.
    """
    charge = _charge(runtime, account_id, purchase_id)
    if charge.row.status != "pending":
        return
    now, asked_at = runtime.clock.now(), charge.row.asked_at
    refused = None
    facts: tuple[Fact, ...] = ()
    if asked_at is None and charge.is_card_gone:
        refused = "card_removed"
    elif asked_at is not None and now >= asked_at + CONFIRM_WITHIN:
        facts = charge.provider.find_charge(charge.request)
        refused = None if facts else "never_charged"
    elif (unwanted := transact(runtime.db, lambda session: _ask_wallet(session, runtime, charge.row))) is not None:
        facts = () if asked_at is None else charge.provider.find_charge(charge.request)
        if not facts:
            transact(runtime.db, lambda session: _withdraw(session, runtime, charge.row, unwanted))
            return
    else:
        try:
            facts = charge.provider.charge(charge.request)
        except ProviderRefused as error:
            refused = error.code
    transact(runtime.db, lambda session: _apply(session, runtime, charge.row, facts, refused))


def look_after(runtime: Runtime, limit: int = 100) -> int:
    """Charges on their way are looked up; those that wait for the customer past their time are given up."""
    now = runtime.clock.now()
    with reading(runtime.db) as session:
        rows = recharges.due(session, now, limit)
    for row in rows:
        try:
            charge = _charge(runtime, row.account_id, row.purchase_id)
            if row.status == "requires_action" and row.payment_id is not None:
                facts = charge.provider.give_up(row.payment_id)
            else:
                facts = charge.provider.find_charge(charge.request)
            wait = LOOK_AGAIN
        except (ProviderUnreachable, ProviderRefused):
            facts, wait = (), SOON

        def work(
            session: Session, row: RechargeRow = row, facts: tuple[Fact, ...] = facts, wait: timedelta = wait
        ) -> None:
            books.lock_wallets(session, [row.account_id], now)
            there = session.get_one(RechargeRow, (row.account_id, row.purchase_id))
            there.due_at = now + wait
            session.add(there)
            apply_facts(session, runtime, row.account_id, row.purchase_id, facts, "system")

        transact(runtime.db, work)
    return len(rows)


def confirm_url(runtime: Runtime, purchase_id: str) -> str | None:
    """Where the customer's bank asks them about this very payment; `None` when there is nothing to confirm."""
    with reading(runtime.db) as session:
        account_id = purchases.find_account(session, purchase_id)
        row = session.get(RechargeRow, (account_id, purchase_id)) if account_id is not None else None
        purchase = purchases.get_purchase(session, account_id, purchase_id) if account_id is not None else None
    if row is None or purchase is None:
        raise NotFound("payment")
    provider = runtime.providers.get(purchase.provider)
    if row.status != "requires_action" or row.payment_id is None or provider is None or not keeps_cards(provider):
        return None
    return provider.confirm_url(row.payment_id, purchase.success_url)


def _charge(runtime: Runtime, account_id: str, purchase_id: str) -> _Charge:
    with reading(runtime.db) as session:
        row = session.get_one(RechargeRow, (account_id, purchase_id))
        purchase = purchases.get_purchase(session, account_id, purchase_id)
        card = cards.get_card(session, account_id, row.method_id)
    assert purchase is not None and card is not None
    provider = runtime.providers.get(purchase.provider)
    if provider is None or not keeps_cards(provider):
        raise ProviderUnreachable(f"{purchase.provider} is switched off")
    request = ChargeRequest(
        account_id=account_id,
        purchase_id=purchase_id,
        customer_id=card.customer_id,
        card_reference=card.provider_reference,
        amount=Money(purchase.amount_minor, purchase.currency),
        description=purchase.description,
        return_url=purchase.success_url,
        idempotency_key=f"autorecharge:{purchase_id}",
    )
    return _Charge(row, provider, request, card.detached_at is not None)


def _ask_wallet(session: Session, runtime: Runtime, charge: RechargeRow) -> str | None:
    """Note that the provider is asked now; or why it must not be any more, for between the decision and the asking
    the wallet may have been suspended or closed, or its owner may have switched off or taken another card."""
    account_id, now = charge.account_id, runtime.clock.now()
    page = books.lock_wallets(session, [account_id], now)[account_id]
    wish = recharges.wish_of(session.get(AutoRechargeRow, account_id))
    if page.wallet.status != "active":
        return "wallet_not_active"
    if not wish.is_enabled or wish.method_id != charge.method_id:
        return "withdrawn"
    row = session.get_one(RechargeRow, (account_id, charge.purchase_id))
    row.asked_at = row.asked_at or now
    session.add(row)
    return None


def _withdraw(session: Session, runtime: Runtime, charge: RechargeRow, reason: str) -> None:
    """End a charge that never was; should the provider have taken the money all the same, its word counts."""
    books.lock_wallets(session, [charge.account_id], runtime.clock.now())
    row = session.get_one(RechargeRow, (charge.account_id, charge.purchase_id))
    purchase = purchases.get_purchase(session, charge.account_id, charge.purchase_id, lock=True)
    if purchase is not None and row.status == "pending":
        withdraw(session, runtime, purchase, row, reason)


def _apply(
    session: Session, runtime: Runtime, charge: RechargeRow, facts: tuple[Fact, ...], refused: str | None
) -> None:
    """The provider's answer into the books, or the end of a charge that never was."""
    account_id, purchase_id = charge.account_id, charge.purchase_id
    books.lock_wallets(session, [account_id], runtime.clock.now())
    if facts:
        apply_facts(session, runtime, account_id, purchase_id, facts, "system")
    row = session.get_one(RechargeRow, (account_id, purchase_id))
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    if refused is not None and purchase is not None and row.status in recharges.IN_FLIGHT:
        fail(session, runtime, purchase, row, refused)
    elif row.status == "pending" and facts:
        row.status = "processing"  # the provider has it, and has not ended it
        row.due_at = runtime.clock.now() + LOOK_AGAIN
        session.add(row)
