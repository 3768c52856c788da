"""The demo's customer and sixty days of what they did: the engine itself, run through the past day by day.

Nothing is written by hand. A clock that starts in the past is moved forward, and ordinary flows do what they would
have done: monthly credits, purchases on the sandbox, spends, a reversal, promotions, expiry, receipts.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import msgspec
from sqlmodel import Session, col, select

from api.delivery import mail_sender
from api.sandbox_sessions import act, create_session, find_session, payment_told
from engine.clock import Clock
from engine.flows import receive
from engine.flows.accounts import NewAccount, open_account
from engine.flows.topups import CheckoutOrder, start_checkout
from engine.group_commit import in_threads
from engine.jobs import Jobs
from engine.payments import Checkout, CheckoutRequest, Event, Fact, ProviderUnreachable, RefundRequest
from engine.rules.catalog import Catalog
from engine.rules.commands import Command, Grant, Posted, Reverse, Spend
from engine.rules.descriptions import describe
from engine.rules.errors import WebhookRefused
from engine.rules.money import Money
from engine.rules.quotes import quote
from engine.runtime import Runtime
from engine.store.database import Database, reading, transact
from engine.store.tables import AccountRow
from psp.sandbox import payment_fact
from psp.sandbox_wire import NewSession

DAYS = 60
ACTOR = "service:demo"
PLAN = "pro"
PURCHASE_DAYS = (4, 37)
PROMO_DAYS = {6: 14, 58: 30}
"""Day of a promotion, and for how many days its credits live: the first has run out by now, the second has not."""

REVERSED_DAY = 41
WAIT_SECONDS = 30.0
WORK = (
    ("openrouter", "OpenRouter", "chat"),
    ("openrouter", "OpenRouter", "embeddings"),
    ("gpu-pool", "GPU pool", "render"),
    ("signals", "Market signals", "backtest"),
)
"""What the customer spends on: provider, its name, capability."""


def demo_account(db: Database) -> str | None:
    """The demo's customer, if an earlier run made one."""
    with reading(db) as session:
        return session.exec(select(AccountRow.account_id).order_by(col(AccountRow.created_at))).first()


def seed(runtime: Runtime) -> str:
    """Make the customer and their history up to now; the account's id. The database is empty before."""
    clock = Clock(timedelta(days=-DAYS))
    group = in_threads(runtime.db, runtime.terms, clock.now)
    provider = _PastSandbox(runtime.db, clock)
    past = replace(runtime, clock=clock, group=group, providers={provider.name: provider})
    try:
        account_id = _open(past)
        _live(past, clock, provider, account_id)
    finally:
        group.close()
    return account_id


def _open(past: Runtime) -> str:
    catalog, demo = past.catalog, past.catalog.demo
    order = NewAccount(
        account_id=None,
        email=demo.email,
        name=demo.name,
        country=demo.country,
        locale=demo.locale,
        plan=_plan(catalog),
        grant_monthly_credits=True,
        actor=ACTOR,
        scope=ACTOR,
        key=None,
    )
    account_id = open_account(past, order, past.clock.now()).account.account_id
    address = msgspec.to_builtins(demo.address)
    address["postalCode"] = address.pop("postal_code")
    profile = {"company": demo.company, "taxId": demo.tax_id, "address": address}

    def write(session: Session) -> None:
        row = session.get_one(AccountRow, account_id)
        row.profile = msgspec.json.encode(profile).decode()

    transact(past.db, write)
    return account_id


def _plan(catalog: Catalog) -> str | None:
    """The plan `pro`; in a catalogue with other plans the dearest, in one without plans none."""
    if any(plan.id == PLAN for plan in catalog.plans):
        return PLAN
    dearest = max(catalog.plans, key=lambda plan: plan.rank, default=None)
    return dearest.id if dearest else None


def _live(past: Runtime, clock: Clock, provider: "_PastSandbox", account_id: str) -> None:
    """Day by day: what is due first, then what the customer does; in the end the clock reaches the present."""
    random = Random(1)
    jobs = Jobs(past, {"mail": mail_sender(None)})
    presets = past.catalog.pricing.presets_minor or (past.catalog.pricing.min_minor,)
    amounts = dict(zip(PURCHASE_DAYS, (presets[-2:][0], presets[0]), strict=True))
    need = quote(
        past.catalog.pricing, Money(amounts[PURCHASE_DAYS[0]], past.catalog.pricing.currency), provider.name
    ).credits
    for day in range(DAYS):
        jobs.run_due()
        if day in amounts:
            _buy(past, provider, account_id, amounts[day])
            jobs.run_due()
        if day in PROMO_DAYS:
            _post(past, _promotion(past, account_id, need // 20, day))
        for number in range(random.randint(1, 4) if day >= PURCHASE_DAYS[0] else 0):
            clock.advance(timedelta(minutes=random.randint(20, 200)))
            spent = _post(past, _spend(account_id, random, need, f"demo-{day}-{number}"))
            if (day, number) == (REVERSED_DAY, 0):
                _post(past, _reversal(account_id, spent.transactions[-1].transaction_id))
        clock.advance(timedelta(days=day + 1 - DAYS) - clock.offset)
    jobs.run_due()


def _buy(past: Runtime, provider: "_PastSandbox", account_id: str, amount_minor: int) -> None:
    """A top-up on the sandbox, paid at once."""
    order = CheckoutOrder(
        account_id=account_id,
        actor=ACTOR,
        amount=Money(amount_minor, past.catalog.pricing.currency),
        provider=provider.name,
    )
    session_id = start_checkout(past, order).purchase.session_id
    assert session_id is not None, "the provider has just given it"
    provider.pay(session_id)
    receive.carry_out(past, provider, provider.payment(session_id))


def _promotion(past: Runtime, account_id: str, credits: int, day: int) -> Grant:
    """Limited-time credits where the catalogue has them, else credits that stay."""
    bucket = past.catalog.buckets[0]
    ends = past.clock.now() + timedelta(days=PROMO_DAYS[day]) if bucket == "limited_time" else None
    campaign = f"referral-{day}"
    return Grant(
        account_id=account_id,
        actor=ACTOR,
        type="promo_credit",
        source="referral",
        bucket=bucket if bucket == "limited_time" else "recharge",
        credits=credits,
        description=describe(past.catalog.descriptions.promo_credit, campaign=campaign),
        expires_at=ends,
        reference_type="campaign",
        reference_id=f"{campaign}/",
        key=campaign,
    )


def _spend(account_id: str, random: Random, need: int, call_id: str) -> Spend:
    """Between two and ten thousandths of what a month needs."""
    provider_id, provider_name, capability = random.choice(WORK)
    return Spend(
        account_id=account_id,
        actor=ACTOR,
        credits=max(1, need * random.randint(2, 10) // 1_000),
        description=f"{provider_name}: {capability}",
        provider_id=provider_id,
        provider_name=provider_name,
        capability_id=capability,
        outcome="success",
        call_id=call_id,
        key=call_id,
    )


def _reversal(account_id: str, transaction_id: str) -> Reverse:
    return Reverse(
        account_id=account_id,
        actor=ACTOR,
        transaction_id=transaction_id,
        credits=None,
        description="Reversed: the job failed",
        key=f"reversal:{transaction_id}",
    )


def _post(past: Runtime, command: Command) -> Posted:
    outcome = past.group.submit(command).result(WAIT_SECONDS)
    assert isinstance(outcome, Posted), f"the history was made to fit: {outcome}"
    return outcome


class _PastSandbox:
    """The sandbox as it was: the same books, written directly, because no server answers for the past."""

    name: str = "sandbox"
    account: str = "default"
    is_live: bool = False
    can_refund: bool = False
    merchant_of_record: str | None = None

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    def start_checkout(self, request: CheckoutRequest) -> Checkout:
        asked = NewSession(
            account_id=request.account_id,
            purchase_id=request.purchase_id,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            description=request.description,
            success_url=request.success_url,
            cancel_url=request.cancel_url,
            expires_at=request.expires_at,
        )
        key, now = request.idempotency_key, self._clock.now()
        row = transact(self._db, lambda session: create_session(session, asked, key, now))
        return Checkout(row.session_id, f"/sandbox/checkout/{row.session_id}", row.expires_at)

    def pay(self, session_id: str) -> None:
        now = self._clock.now()
        transact(self._db, lambda session: act(session, session_id, "pay", now))

    def payment(self, session_id: str) -> tuple[Fact, ...]:
        now = self._clock.now()
        told = transact(self._db, lambda session: payment_told(find_session(session, session_id, now)))
        return (payment_fact(told),)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        raise WebhookRefused("Nobody sends webhooks in the past.")

    def facts(self, event: Event) -> tuple[Fact, ...]:
        return ()

    def refund(self, request: RefundRequest) -> tuple[Fact, ...]:
        raise ProviderUnreachable("Nothing is refunded in the past.")
