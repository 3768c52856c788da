"""Starting a subscription: the row is written and committed, then the provider is asked for its hosted checkout."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlmodel import Session

from engine.clock import new_id
from engine.flows.rails import rail_for_customer
from engine.flows.subscription_checkouts import is_open, leave
from engine.flows.topups import offered_providers
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.recurring import SubscriptionProvider, SubscriptionRequest
from engine.rules.errors import Invalid, NotFound, Unavailable, WalletNotActive
from engine.rules.fields import PROVIDER_NAMES
from engine.rules.return_urls import cancel_url, check_return_url, success_url
from engine.rules.subscriptions import ABILITIES, Terms, first_change, terms_of
from engine.runtime import Runtime
from engine.store import books, subscriptions
from engine.store.database import reading, transact
from engine.store.tables import AccountRow, SubscriptionRow, WalletRow


@dataclass(frozen=True, slots=True, kw_only=True)
class StartOrder:
    """A plan that somebody wants. URLs left out mean our own page of plans."""

    account_id: str
    actor: str
    plan: str
    interval: str | None = None
    provider: str | None = None
    success_url: str | None = None
    cancel_url: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class CheckedStart:
    """What a first subscription is started with."""

    terms: Terms
    provider: SubscriptionProvider
    success_url: str
    cancel_url: str
    has_trial: bool


def first_terms(runtime: Runtime, order: StartOrder) -> Terms:
    """What is asked for, as the catalogue sells it now."""
    return terms_of(runtime.catalog, order.plan, order.interval)


def check_wallet(runtime: Runtime, account_id: str) -> None:
    """A wallet that is suspended or closed buys nothing."""
    with reading(runtime.db) as session:
        _check_wallet(session, account_id)


def _check_wallet(session: Session, account_id: str) -> None:
    wallet = session.get(WalletRow, account_id)
    if wallet is None:
        raise NotFound("account")
    if wallet.status != "active":
        raise WalletNotActive(wallet.status)


def check_start(session: Session, runtime: Runtime, order: StartOrder, platform: str) -> CheckedStart:
    """All that can be refused about a first subscription, in order of precedence, before anything is written."""
    origins = {*runtime.return_origins}
    own = f"{runtime.base_url}/account/subscribe"
    back = check_return_url("successUrl", order.success_url, origins) if order.success_url is not None else own
    away = check_return_url("cancelUrl", order.cancel_url, origins) if order.cancel_url is not None else own
    account = session.get(AccountRow, order.account_id)
    if account is None:
        raise NotFound("account")
    _check_wallet(session, order.account_id)
    terms = first_terms(runtime, order)
    provider = _choose(runtime, order.provider, account.country, platform)
    had_one = any(row.version > 0 for row in subscriptions.subscriptions_of(session, order.account_id))
    return CheckedStart(terms, provider, back, away, terms.plan.trial_days > 0 and not had_one)


def _choose(runtime: Runtime, name: str | None, country: str | None, platform: str) -> SubscriptionProvider:
    if name is not None and name in ABILITIES:
        ABILITIES[name].check(name, "start")
    offered = offered_providers(runtime, country, platform)
    can = [each for each in offered if isinstance(runtime.providers[each], SubscriptionProvider)]
    if name is not None and name not in can:
        raise Invalid("provider", "This provider does not sell subscriptions here.")
    if not any(isinstance(each, SubscriptionProvider) for each in runtime.providers.values()):
        raise Unavailable("No payment provider that sells subscriptions is configured.")
    if not can:
        raise Invalid("provider", "No payment provider that sells subscriptions is offered for this country.")
    chosen = runtime.providers[name or can[0]]
    assert isinstance(chosen, SubscriptionProvider)
    return chosen


def start(
    runtime: Runtime, order: StartOrder, begun: str | None, keep: Callable[[Session, str], str]
) -> SubscriptionRow:
    """The subscription with its checkout. `begun` is the one an earlier try wrote; `keep` notes a new one's id under
    the caller's key and answers the id that stands there.

    A checkout for the same terms that is still open is given again, so that pressing twice does not subscribe twice;
    any other is ended.
    """
    row = None
    if begun is not None:
        with reading(runtime.db) as session:
            row = subscriptions.get_subscription(session, order.account_id, begun)
    if row is None:
        with reading(runtime.db) as session:
            checked = check_start(session, runtime, order, "web")
            rows = subscriptions.subscriptions_of(session, order.account_id)
        opened = [each for each in rows if is_open(runtime, each)]
        same = [each.subscription_id for each in opened if _is_same(order, checked, each)]
        leave(runtime, order.account_id, opened, same[-1] if same else None)
        row = transact(runtime.db, lambda session: _place(session, runtime, order, checked, keep))
    return row if row.checkout_url is not None else _ask_provider(runtime, row)


def _place(
    session: Session, runtime: Runtime, order: StartOrder, checked: CheckedStart, keep: Callable[[Session, str], str]
) -> SubscriptionRow:
    now = runtime.clock.now()
    books.lock_wallets(session, [order.account_id], now)
    subscription_id = new_id("sub", now)
    for other in subscriptions.subscriptions_of(session, order.account_id):
        if is_open(runtime, other) and _is_same(order, checked, other):
            subscription_id = other.subscription_id
    kept = keep(session, subscription_id)
    there = subscriptions.get_subscription(session, order.account_id, kept)
    if there is not None:
        return there
    first = first_change(checked.terms, now, has_trial=checked.has_trial)
    row = SubscriptionRow(
        account_id=order.account_id,
        subscription_id=subscription_id,
        provider=checked.provider.name,
        terms=subscriptions.write_terms(checked.terms),
        currency=runtime.catalog.pricing.currency,
        anchor_at=now,
        period_start_at=now,
        period_end_at=first.next_at,
        has_trial=checked.has_trial,
        success_url=success_url(checked.success_url, subscription_id),
        cancel_url=cancel_url(checked.cancel_url, subscription_id),
        actor=order.actor,
        created_at=now,
        expires_at=now + timedelta(minutes=runtime.catalog.checkout_ttl_minutes),
        next_at=now + timedelta(minutes=runtime.catalog.checkout_ttl_minutes),
        updated_at=now,
    )
    session.add(row)
    session.flush()
    return row


def _is_same(order: StartOrder, checked: CheckedStart, other: SubscriptionRow) -> bool:
    """Whether a checkout sells the same terms by the same provider, and both come back to our own page."""
    is_own_page = order.success_url is None and order.cancel_url is None
    wanted = (subscriptions.write_terms(checked.terms), checked.provider.name)
    return is_own_page and (other.terms, other.provider) == wanted and other.success_url.startswith(checked.success_url)


def _ask_provider(runtime: Runtime, row: SubscriptionRow) -> SubscriptionRow:
    """Ask for the hosted checkout, then write its reference; nothing is locked while the provider thinks."""
    with reading(runtime.db) as session:
        account = session.get(AccountRow, row.account_id)
    provider = rail_for_customer(runtime, row.provider)
    assert account is not None and isinstance(provider, SubscriptionProvider)
    terms = subscriptions.read_terms(row.terms)
    request = SubscriptionRequest(
        account_id=row.account_id,
        subscription_id=row.subscription_id,
        terms=terms,
        currency=row.currency,
        description=f"{terms.plan.name} ({'monthly' if terms.interval == 'month' else 'yearly'})",
        email=account.email,
        locale=account.locale,
        success_url=row.success_url,
        cancel_url=row.cancel_url,
        expires_at=row.expires_at,
        trial_days=terms.plan.trial_days if row.has_trial else 0,
        idempotency_key=f"subscription:{row.subscription_id}",
    )
    try:
        checkout = provider.start_subscription(request)
    except ProviderUnreachable as error:
        raise Unavailable("The payment provider does not answer; try again with the same key.") from error
    except ProviderRefused as error:
        raise Unavailable(f"{PROVIDER_NAMES[row.provider]} declined to open a checkout; try again later.") from error

    def write(session: Session) -> SubscriptionRow:
        books.lock_wallets(session, [row.account_id], runtime.clock.now())
        there = subscriptions.get_subscription(session, row.account_id, row.subscription_id, lock=True)
        assert there is not None
        there.session_id = checkout.session_id
        there.checkout_url = checkout.url
        session.add(there)
        return there

    return transact(runtime.db, write)
