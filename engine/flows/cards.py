"""Saved cards: kept when a payment saved one, made the default, removed here or at the provider.

We know brand, last four, expiry and the provider's id, and nothing else. A card that goes takes the auto-recharge
that used it with it, in the same transaction; the provider is told afterwards, by a job.
"""

from sqlmodel import Session

from engine.payments import Card, CardProvider, Detached, PaymentProvider, ProviderRefused, keeps_cards
from engine.recurring import can_be_managed
from engine.rules.errors import NotFound
from engine.rules.facts import Fact
from engine.runtime import Runtime
from engine.store import books, cards, outbox, recharges, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, AutoRechargeRow, PaymentMethodRow, PurchaseRow, SubscriptionRow

DETACH = "detach_card"
"""Outbox kind: tell the provider that a card was removed."""


def mode_of(provider: PaymentProvider) -> str:
    return "live" if provider.is_live else "test"


def customer_of(runtime: Runtime, provider: CardProvider, account: AccountRow) -> str:
    """Who the account is at the provider, made there if it is nobody yet; never called inside a transaction."""
    account_id, mode = account.account_id, mode_of(provider)
    with reading(runtime.db) as session:
        known = cards.customer_id_of(session, account_id, provider.name, mode)
    if known is not None:
        return known
    made = provider.customer(account_id, account.email, f"customer:{account_id}")

    def keep(session: Session) -> str:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        return cards.keep_customer(session, account_id, provider.name, mode, made, now)

    return transact(runtime.db, keep)


def keep_saved_card(session: Session, runtime: Runtime, purchase: PurchaseRow, facts: tuple[Fact, ...]) -> None:
    """Keep the card that a paid checkout saved; the wallet is locked."""
    for fact in facts:
        if fact.kind == "payment" and fact.state == "paid" and fact.card is not None:
            cards.keep_card(session, purchase.account_id, purchase.provider, fact.card, runtime.clock.now())


def list_cards(runtime: Runtime, account_id: str) -> list[PaymentMethodRow]:
    """The account's saved cards, the default first."""
    with reading(runtime.db) as session:
        if session.get(AccountRow, account_id) is None:
            raise NotFound("account")
        return cards.live_cards(session, account_id)


def make_default(runtime: Runtime, account_id: str, method_id: str) -> PaymentMethodRow:
    """Make one card the default and no other."""

    def work(session: Session) -> PaymentMethodRow:
        books.lock_open(session, account_id, runtime.clock.now())
        chosen = cards.live_card(session, account_id, method_id)
        if chosen is None:
            raise NotFound("payment method")
        for row in cards.live_cards(session, account_id):
            row.is_default = row.method_id == method_id
            session.add(row)
        return chosen

    return transact(runtime.db, work)


def remove_card(runtime: Runtime, account_id: str, method_id: str) -> None:
    """Remove a card here at once; a job tells the provider."""

    def work(session: Session) -> None:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        row = cards.live_card(session, account_id, method_id)
        if row is None:
            raise NotFound("payment method")
        _drop(session, runtime, row)
        outbox.enqueue(session, account_id, DETACH, {"methodId": method_id}, now)

    transact(runtime.db, work)
    runtime.wake_jobs()


def tell_provider(runtime: Runtime, account_id: str, method_id: str) -> None:
    """Outbox kind `detach_card`: detach at the provider; one that is gone there is what was wanted."""
    with reading(runtime.db) as session:
        row = cards.get_card(session, account_id, method_id)
    provider = runtime.providers.get(row.provider) if row is not None else None
    if row is None or provider is None or not keeps_cards(provider):
        return
    try:
        provider.detach(row.provider_reference)
    except ProviderRefused:
        return


def cards_gone(runtime: Runtime, provider: PaymentProvider, gone: Detached) -> None:
    """Cards that were removed at the provider, or went with its customer, go here too."""
    mode = mode_of(provider)
    with reading(runtime.db) as session:
        found = cards.cards_by_reference(session, provider.name, gone.card_references)
        owners = {row.account_id for row in found}
        if gone.customer_id is not None:
            owner = cards.account_of_customer(session, provider.name, mode, gone.customer_id)
            owners |= {owner} if owner is not None else set()
    for account_id in sorted(owners):

        def work(session: Session, account_id: str = account_id) -> None:
            books.lock_wallets(session, [account_id], runtime.clock.now())
            for row in cards.live_cards(session, account_id):
                is_named = row.provider_reference in gone.card_references
                if row.provider == provider.name and (is_named or row.customer_id == gone.customer_id):
                    _drop(session, runtime, row)
            if gone.customer_id is not None:
                cards.forget_customer(session, account_id, provider.name, mode, gone.customer_id)

        transact(runtime.db, work)


def card_changed(runtime: Runtime, provider: PaymentProvider, card: Card) -> None:
    """A card that its bank renewed, or its owner changed, is known as it is now; what waited for it looks again."""
    with reading(runtime.db) as session:
        owners = {row.account_id for row in cards.cards_by_reference(session, provider.name, (card.reference,))}

    def work(session: Session, account_id: str) -> None:
        now = runtime.clock.now()
        books.lock_wallets(session, [account_id], now)
        row = cards.keep_card(session, account_id, provider.name, card, now)
        wanted = session.get(AutoRechargeRow, account_id)
        if wanted is not None and wanted.is_enabled and wanted.method_id == row.method_id:
            wanted.backoff_until_at, wanted.updated_at = None, now
            session.add(wanted)
            recharges.ask(session, account_id, now, now)

    for account_id in sorted(owners):
        transact(runtime.db, lambda session, a=account_id: work(session, a))  # type: ignore[misc]
    if owners:
        runtime.wake_jobs()


def portal_url(runtime: Runtime, account_id: str) -> str:
    """The provider's own page for this customer: on the rail of their default card, else where their subscription is
    kept, else on the first rail that has one."""
    with reading(runtime.db) as session:
        account = session.get(AccountRow, account_id)
        saved = cards.live_cards(session, account_id)
        subscribed = subscriptions.subscriptions_of(session, account_id)
    if account is None:
        raise NotFound("account")
    url = None if saved else _managed_url(runtime, subscribed)
    if url is not None:
        return url
    names = [row.provider for row in saved] + [rail.name for rail in runtime.catalog.providers]
    rails = (runtime.providers.get(name) for name in names)
    provider = next((rail for rail in rails if rail is not None and keeps_cards(rail)), None)
    if provider is None:
        raise NotFound("page of a payment provider for its customers")
    customer_id = customer_of(runtime, provider, account)
    return provider.portal_url(customer_id, f"{runtime.base_url}/account/billing")


def _managed_url(runtime: Runtime, subscribed: list[SubscriptionRow]) -> str | None:
    """The page of a running subscription's provider where its customer gives another card."""
    for row in subscribed:
        provider = runtime.providers.get(row.provider)
        if row.reference is not None and row.state != "ended" and can_be_managed(provider):
            return provider.manage_url(row.reference)
    return None


def _drop(session: Session, runtime: Runtime, row: PaymentMethodRow) -> None:
    """The card is gone; another one becomes the default, and the auto-recharge that used it is cleared."""
    now, account_id = runtime.clock.now(), row.account_id
    was_default = row.is_default
    row.detached_at = now
    row.is_default = False
    session.add(row)
    session.flush()
    left = cards.live_cards(session, account_id)
    if was_default and left:
        left[0].is_default = True
        session.add(left[0])
    wanted = session.get(AutoRechargeRow, account_id)
    if wanted is None or wanted.method_id != row.method_id:
        return
    was_on = wanted.is_enabled
    before = recharges.wish_of(wanted)
    wanted.method_id = None
    wanted.is_enabled = False
    wanted.updated_at = now
    session.add(wanted)
    recharges.arm(session, account_id, None)
    if was_on:
        page = books.lock_wallets(session, [account_id], now)[account_id]
        recharges.note(session, account_id, before, page.wallet.available_credits, "card_removed", now)
        outbox.enqueue(session, account_id, "notice", {"notice": "autoRechargeOff", "reason": "card_removed"}, now)
