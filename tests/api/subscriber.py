"""A customer with subscriptions: the whole API, and the sandbox's own books spoken to without a network between."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar, cast

import msgspec
from litestar.testing import TestClient
from sqlmodel import Session, select

from api import sandbox_returns as returns
from api import sandbox_sessions as sessions
from api import sandbox_subscriptions as books
from engine.audit import audit
from engine.flows import receive
from engine.jobs import Jobs
from engine.payments import (
    Act,
    Checkout,
    CheckoutRequest,
    Event,
    ProviderFact,
    ProviderRefused,
    ProviderUnreachable,
    RefundRequest,
)
from engine.recurring import SubscriptionChange, SubscriptionRequest
from engine.runtime import Runtime
from engine.store.database import Database, reading, transact
from engine.store.tables import OutboxRow
from psp.sandbox import _dispute_fact, _refund_fact, payment_fact
from psp.sandbox_subscription_wire import Asked, NewSubscription, NewTerms, invoice_fact, subscription_fact
from psp.sandbox_wire import NewRefund, NewSession, Webhook, read_webhook
from tests.api.host import Host, new_app, new_runtime, turns_months
from tests.engine.support import FakeClock

T = TypeVar("T")


@dataclass
class Sandbox:
    """The sandbox rail with its books in the same database; what it would post waits in `posted`."""

    db: Database
    clock: FakeClock
    name: str = "sandbox"
    account: str = "default"
    is_live: bool = False
    can_refund: bool = True
    merchant_of_record: str | None = None
    posted: list[Webhook] = field(default_factory=list)
    is_down: bool = False
    answers_lost: int = 0
    """How many of the next changes are carried out without Purser hearing the answer."""
    never_ends: bool = False
    """Whether a checkout can't be ended, as at some providers."""

    def keep(self, work: Callable[[Session, datetime], T]) -> T:
        if self.is_down:
            raise ProviderUnreachable("no answer")
        try:
            return transact(self.db, lambda session: work(session, self.clock.now()))
        except sessions.SandboxRefused as refused:
            raise ProviderRefused(refused.code, refused.detail) from refused

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
        row = self.keep(lambda session, now: sessions.create_session(session, asked, request.idempotency_key, now))
        return Checkout(row.session_id, f"https://pay.example/{row.session_id}", row.expires_at)

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        raise NotImplementedError("these tests deliver events that are verified")

    def facts(self, event: Event) -> tuple[ProviderFact, ...]:
        pointed = read_webhook(event.payload).object
        match pointed.kind:
            case "payment":
                find = sessions.find_payment
                return (
                    self.keep(lambda session, now: payment_fact(sessions.payment_told(find(session, pointed.id, now)))),
                )
            case "refund":
                return (self.keep(lambda session, now: _refund_fact(returns.get_refund(session, pointed.id, now))),)
            case "dispute":
                return (self.keep(lambda session, now: _dispute_fact(returns.get_dispute(session, pointed.id, now))),)
            case "subscription":
                return (
                    subscription_fact(
                        self.keep(
                            lambda session, now: books.told(session, books.find(session, pointed.id))
                        ).subscription
                    ),
                )
            case _:
                return (invoice_fact(self.keep(lambda session, now: books.find_invoice(session, pointed.id))),)

    def refund(self, request: RefundRequest) -> tuple[ProviderFact, ...]:
        asked = NewRefund(
            payment_id=request.payment_id,
            amount_minor=request.amount.minor,
            currency=request.amount.currency,
            reversal_id=request.reversal_id,
        )
        made = self.keep(lambda session, now: returns.make_refund(session, asked, request.idempotency_key, now))
        return (_refund_fact(cast(Any, made.told)),)

    def payment(self, session_id: str) -> tuple[ProviderFact, ...]:
        return (
            self.keep(
                lambda session, now: payment_fact(
                    sessions.payment_told(sessions.find_session(session, session_id, now))
                )
            ),
        )

    def start_subscription(self, request: SubscriptionRequest) -> Checkout:
        asked = NewSubscription(
            account_id=request.account_id,
            subscription_id=request.subscription_id,
            terms=request.terms,
            currency=request.currency,
            description=request.description,
            success_url=request.success_url,
            cancel_url=request.cancel_url,
            expires_at=request.expires_at,
            trial_days=request.trial_days,
        )
        row = self.keep(lambda session, now: books.create(session, asked, request.idempotency_key, now))
        return Checkout(row.session_id, f"https://pay.example/{row.session_id}", row.expires_at)

    def end_checkout(self, session_id: str) -> None:
        if not self.never_ends:
            self.keep(lambda session, now: books.end_checkout(session, session_id, now))

    def has_ended(self, session_id: str) -> bool:
        find = sessions.find_session
        state = self.keep(lambda session, now: find(session, session_id, now).state)
        return state in ("expired", "cancelled")

    def change_subscription(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        asked = NewTerms(terms=change.terms, when="now" if change.is_now else "period_end", at=change.at)
        key = change.idempotency_key
        return self._changed(change.reference, lambda s, now: books.set_terms(s, change.reference, asked, key, now))

    def act_on_subscription(self, reference: str, act: Act, idempotency_key: str) -> tuple[ProviderFact, ...]:
        return self._changed(reference, lambda s, now: books.do(s, reference, Asked(act=act), idempotency_key, now))

    def subscription(self, reference: str) -> tuple[ProviderFact, ...]:
        return self.keep(lambda session, now: books.told(session, books.find(session, reference))).facts()

    def _changed(
        self, reference: str, work: Callable[[Session, datetime], tuple[Webhook, ...]]
    ) -> tuple[ProviderFact, ...]:
        self.posted.extend(self.keep(work))
        if self.answers_lost > 0:
            self.answers_lost -= 1
            raise ProviderUnreachable("the answer was lost")
        return self.subscription(reference)


@dataclass
class Subscriber:
    """One customer of alphio: what they do is asked over HTTP, what the provider does is played on its books."""

    host: Host
    sandbox: Sandbox
    jobs: Jobs
    path: str = ""

    @property
    def runtime(self) -> Runtime:
        return self.host.runtime

    def subscribe(self, plan: str, interval: str = "month", button: str = "pay") -> dict[str, Any]:
        """Start a subscription, press a button on its page, and let Purser hear of it."""
        answer = self.change(plan, interval)
        assert answer["checkoutUrl"], answer
        self.press(answer["checkoutUrl"], button)
        return self.subscription()

    def press(self, url: str, button: str) -> None:
        session_id = url.rpartition("/")[2]
        self.tell(*self.sandbox.keep(lambda session, now: books.press(session, session_id, button, now)))

    def change(self, plan: str, interval: str | None = None, **more: Any) -> dict[str, Any]:
        answer = self.host.post(f"{self.path}/subscription/change", {"plan": plan, "interval": interval}, **more)
        assert answer.status_code == 200, answer.text
        self.tell()
        return cast(dict[str, Any], answer.json())

    def preview(self, plan: str, interval: str | None = None) -> dict[str, Any]:
        answer = self.host.post(f"{self.path}/subscription/preview", {"plan": plan, "interval": interval})
        assert answer.status_code == 200, answer.text
        return cast(dict[str, Any], answer.json())

    def act(self, what: str) -> dict[str, Any]:
        answer = self.host.post(f"{self.path}/subscription/{what}")
        assert answer.status_code == 200, answer.text
        self.tell()
        return cast(dict[str, Any], answer.json())

    def play(self, what: str, reference: str | None = None) -> tuple[Webhook, ...]:
        """The provider's own side; its webhooks, which Purser has heard."""
        acts = {"renew": books.renew, "payment-failed": books.fail_payment, "cancel": books.cancel}
        name = reference or self.path.rpartition("/")[2]
        events = self.sandbox.keep(lambda session, now: acts[what](session, name, now))
        self.tell(*events)
        return events

    def refund_payment(self, payment_id: str, amount_minor: int | None = None) -> None:
        made = self.sandbox.keep(lambda s, now: returns.refund_outside(s, payment_id, amount_minor, now))
        self.tell(*made.events)

    def tell(self, *events: Webhook) -> None:
        """Deliver webhooks, those that wait first, and let the jobs do what follows."""
        waiting, self.sandbox.posted = self.sandbox.posted, []
        for event in (*waiting, *events):
            told = Event(event.id, event.type, msgspec.json.encode(event))
            receive.store(self.runtime, cast(Any, self.sandbox), told, self.host.clock.now())
        self.jobs.run_due()

    def wait(self, **span: float) -> datetime:
        """Let time pass, and what is due with it."""
        now = self.host.clock.advance(timedelta(**span))
        self.jobs.run_due()
        return now

    def wait_until(self, instant: str, **later: float) -> datetime:
        at = datetime.fromisoformat(instant) + timedelta(**later)
        now = self.host.clock.advance(at - self.host.clock.now())
        self.jobs.run_due()
        return now

    def subscription(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.host.get(f"{self.path}/subscription").json())

    def monthly(self) -> int:
        return self.host.buckets(self.path)["monthly"]

    def payments(self) -> list[dict[str, Any]]:
        return cast(list[dict[str, Any]], self.host.get(f"{self.path}/payments").json()["payments"])

    def rows(self) -> list[tuple[str, int]]:
        """The ledger, oldest first: type and signed credits."""
        answer = self.host.get(f"{self.path}/transactions", limit=100).json()["transactions"]
        return [(row["type"], int(row["amountCredits"])) for row in reversed(answer)]

    def outbox(self, kind: str) -> list[dict[str, Any]]:
        """What was written to leave, oldest first."""
        with reading(self.runtime.db) as session:
            rows = session.exec(select(OutboxRow).where(OutboxRow.kind == kind)).all()
        return [
            msgspec.json.decode(row.payload) for row in sorted(rows, key=lambda row: (row.created_at, row.outbox_id))
        ]

    def notices(self) -> list[str]:
        return [row["notice"] for row in self.outbox("notice")]

    def is_clean(self) -> bool:
        report = audit(self.runtime.db, self.runtime.secrets.all_for("ledger chain"))
        assert report.is_clean, report
        return True


def subscriber(db: Database, clock: FakeClock, change: Callable[[Any], Any] | None = None) -> "Subscriber":
    """A runtime of alphio (its catalogue changed as a test wants it) with the sandbox and one account on Free."""
    sandbox = Sandbox(db, clock)
    made = _opened(db, clock, sandbox, change)
    made.path = made.host.open("sub1")
    return made


def restarted(before: Subscriber, change: Callable[[Any], Any]) -> "Subscriber":
    """The same customer and provider after the operator edited the catalogue."""
    made = _opened(before.runtime.db, before.host.clock, before.sandbox, change)
    made.path = before.path
    return made


def _opened(db: Database, clock: FakeClock, sandbox: Sandbox, change: Callable[[Any], Any] | None) -> "Subscriber":
    runtime = new_runtime(db, clock, "alphio")
    catalog = change(runtime.catalog) if change is not None else runtime.catalog
    runtime = replace(runtime, catalog=catalog, providers={"sandbox": cast(Any, sandbox)})
    turns_months(runtime)
    app = new_app(runtime)
    client = TestClient(app)
    host = Host(client, runtime, app.state["site"], clock, service_key="")
    host.service_key = host.new_key("service", name="backend")
    return Subscriber(host, sandbox, Jobs(runtime))
