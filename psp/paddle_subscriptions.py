"""Paddle's subscriptions: begun by a transaction, changed, cancelled and paused, and fetched with their transactions.

A plan is sold at a price of its own with a billing cycle, in no catalogue of Paddle's. Paddle prorates by the minute
and from its own present, so a preview of its proration can't be held. An upgrade is therefore charged as exactly what
was shown, as one charge on the subscription, and the subscription is switched without another one: the charge says in
its price what it pays for, so whoever looks next switches a subscription whose change was cut off in between. What
comes with the next period is put on the subscription at once (`paddle_subscription_facts.py`).

Paddle knows no idempotency keys: a change writes its key into what it made, and what carries that key is not made
again. A charge is looked for before it is made.
"""

from datetime import datetime

from paddle_billing.Entities.Subscriptions import (
    SubscriptionEffectiveFrom,
    SubscriptionOnPaymentFailure,
    SubscriptionOnResume,
    SubscriptionResumeEffectiveFrom,
)
from paddle_billing.Resources.Subscriptions.Operations import (
    CancelSubscription,
    CreateOneTimeCharge,
    PauseSubscription,
    PreviewOneTimeCharge,
    ResumeSubscription,
    UpdateSubscription,
)

from engine.payments import Act, Checkout, ProviderFact, ProviderRefused, ProviderUnreachable
from engine.recurring import Prorated, SubscriptionChange, SubscriptionRequest
from psp.paddle_facts import Json, marks_of, returned_facts
from psp.paddle_subscription_asks import (
    UNSCHEDULED,
    charge_item,
    checkout_of,
    put_back,
    switched,
    switched_by_charge,
    waiting,
)
from psp.paddle_subscription_facts import (
    SETTLED,
    Sold,
    charge_of,
    given_fact,
    held,
    invoice_fact,
    is_scheduled,
    item_of,
    period_of,
    sold_by,
    sold_under,
    subscription_fact,
)
from psp.paddle_values import minor_of
from psp.paddle_wire import PaddleWire

NEWEST = 8
"""How many transactions are told with a subscription."""

_TOO_LITTLE = "less_than_charge_limit"


class PaddleSubscriptions:
    """The subscriptions of one Paddle account; may be shared between threads."""

    def __init__(self, wire: PaddleWire) -> None:
        self._wire = wire

    def start(self, request: SubscriptionRequest) -> Checkout:
        """A transaction that begins a subscription once it is paid. One whose page nobody was sent to stays unpaid."""
        transaction = self._wire.make("/transactions", checkout_of(request))
        url = (transaction.get("checkout") or {}).get("url")
        if not url:
            raise ProviderRefused("checkout_without_url", f"{transaction['id']} has no page for the customer.")
        return Checkout(transaction["id"], url, request.expires_at)

    def preview(self, change: SubscriptionChange) -> Prorated:
        """What Paddle would take now of what is due: less what it owes the customer, nothing where it is too little."""
        if change.due_minor <= 0:
            return Prorated(0, 0)
        item = charge_item(self._get(change.reference), change)
        asked = PreviewOneTimeCharge(SubscriptionEffectiveFrom.Immediately, [item])
        try:
            would = self._wire.make(f"/subscriptions/{change.reference}/charge/preview", asked)
        except ProviderRefused as refused:
            if not refused.code.endswith(_TOO_LITTLE):
                raise
            return Prorated(0, 0)
        totals = (would.get("immediate_transaction") or {}).get("details", {}).get("totals", {})
        return Prorated(minor_of(totals.get("grand_total", "0")), 0)

    def change(self, change: SubscriptionChange) -> tuple[ProviderFact, ...]:
        """Another plan, once for its key; a cancellation is taken back last, so that what was cut off charges nobody.

        What Paddle sells now must be what the change was reckoned from.
        """
        subscription = self._finished(self._get(change.reference), self._newest(change.reference))
        if marks_of(subscription).get("purser_change") != change.idempotency_key:
            if subscription["status"] == "paused" or is_scheduled(subscription, "pause"):
                raise ProviderRefused("subscription_paused", "A paused subscription is resumed before it is changed.")
            if change.replaces is not None and _sold_now(subscription) != sold_under(change.replaces):
                raise ProviderUnreachable("Paddle sells something else by now; its events say so.")
            if change.is_now:
                self._change_now(subscription, change)
            else:
                self._change_next(subscription, change)
        self._unschedule(subscription, "cancel")
        return self.told(change.reference)

    def act(self, reference: str, act: Act) -> tuple[ProviderFact, ...]:
        """Cancel at the period's end, take that back, pause or resume; what is so already is not asked for."""
        subscription = self._get(reference)
        is_paused = subscription["status"] == "paused"
        if subscription["status"] != "canceled":
            match act:
                case "cancel" if not is_scheduled(subscription, "cancel"):
                    self._cancel(subscription, is_paused=is_paused)
                case "reactivate":
                    self._unschedule(subscription, "cancel")
                    self._put_back(subscription)
                case "pause" if is_scheduled(subscription, "cancel"):
                    raise ProviderRefused("subscription_ends", "What is cancelled is reactivated before it is paused.")
                case "pause" if not is_paused and not is_scheduled(subscription, "pause"):
                    next_period = SubscriptionEffectiveFrom.NextBillingPeriod
                    self._wire.make(f"/subscriptions/{reference}/pause", PauseSubscription(next_period))
                case "resume" if is_paused:
                    new_period = SubscriptionOnResume.StartNewBillingPeriod
                    resumed = ResumeSubscription(SubscriptionResumeEffectiveFrom.Immediately, new_period)
                    self._wire.make(f"/subscriptions/{reference}/resume", resumed)
                case "resume":
                    self._unschedule(subscription, "pause")
        return self.told(reference)

    def told(self, name: str, also: str | None = None, *, with_returns: bool = False) -> tuple[ProviderFact, ...]:
        """A subscription with its newest transactions (`also` among them), by its id or by its checkout's; empty
        before it began, and for one that is not ours. `with_returns`: also what was taken back of their payments."""
        reference = self._begun(name) if name.startswith("txn_") else name
        if reference is None:
            return ()
        subscription = self._get(reference)
        if "purser_subscription" not in marks_of(subscription):
            return ()
        listed = self._newest(reference)
        if also is not None and all(one["id"] != also for one in listed):
            listed.append(self._wire.get(f"/transactions/{also}", {"include": "adjustment"}))
        subscription = self._finished(subscription, listed)
        is_live = self._wire.is_live
        facts: list[ProviderFact] = [*subscription_fact(subscription, listed, is_live)]
        facts += given_fact(subscription, is_live)
        for transaction in listed:
            told = invoice_fact(transaction, subscription, is_live)
            facts += told
            if with_returns and told and told[0].state == "paid" and told[0].amount.minor > 0:
                facts += returned_facts(transaction, is_live)
        return tuple(facts)

    def manage_url(self, reference: str) -> str | None:
        """Paddle's page where its customer gives another card; `None` where Paddle has none for it."""
        url: str | None = (self._get(reference).get("management_urls") or {}).get("update_payment_method")
        return url

    def is_of(self, transaction: Json, account_id: str) -> bool:
        """Whether a transaction pays for a subscription of this account."""
        reference = transaction.get("subscription_id")
        marks = marks_of(self._get(reference)) if reference else {}
        return "purser_subscription" in marks and marks.get("purser_account") == account_id

    def _change_now(self, subscription: Json, change: SubscriptionChange) -> None:
        """Charge, then switch: what the bank declines changes nothing."""
        is_switch = _sold_now(subscription) != sold_under(change.terms)
        is_paid = is_switch and change.due_minor > 0 and self._charged(subscription, change)
        is_given = is_switch and not is_paid and subscription["status"] == "active"
        self._update(change.reference, switched(subscription, change, is_paid=is_paid, is_given=is_given))

    def _charged(self, subscription: Json, change: SubscriptionChange) -> bool:
        """Whether what is due was charged, once for the change's key; `False` where it is too little to charge."""
        made = self._charge_made(change)
        if made is None:
            asked = CreateOneTimeCharge(
                SubscriptionEffectiveFrom.Immediately,
                [charge_item(subscription, change)],
                SubscriptionOnPaymentFailure.PreventChange,
            )
            try:
                self._wire.make(f"/subscriptions/{change.reference}/charge", asked)
            except ProviderRefused as refused:
                if refused.code.endswith(_TOO_LITTLE):
                    return False
                raise
            made = self._charge_made(change)
        if made is None or made["status"] not in SETTLED:
            raise ProviderUnreachable("Paddle has not settled the charge yet.")
        return True

    def _charge_made(self, change: SubscriptionChange) -> Json | None:
        """The charge that carries this change's key, unless it came to nothing."""
        given = {"subscription_id": change.reference, "origin": "subscription_charge", "order_by": "id[DESC]"}
        for transaction in self._wire.first("/transactions", given):
            is_for_it = charge_of(transaction).get("purser_change") == change.idempotency_key
            if is_for_it and transaction["status"] != "canceled":
                return transaction
        return None

    def _change_next(self, subscription: Json, change: SubscriptionChange) -> None:
        """Put the next plan on the subscription, after Paddle has said that nothing is charged and no date moves."""
        asked = waiting(subscription, change)
        would = self._wire.change(f"/subscriptions/{change.reference}/preview", asked)
        now, then, next_at = period_of(subscription), period_of(would), would.get("next_billed_at")
        assert now is not None, "what waits was asked for within a period"
        ends = [*([then.end] if then else []), *([datetime.fromisoformat(next_at)] if next_at else [])]
        if would.get("immediate_transaction") or any(end > now.end for end in ends):
            raise ProviderRefused("change_not_at_period_end", "Paddle would charge for this change at once.")
        self._update(change.reference, asked)

    def _cancel(self, subscription: Json, *, is_paused: bool) -> None:
        """At the period's end; a paused one, which has none, at once."""
        self._unschedule(subscription, "pause")
        self._put_back(subscription)
        at = SubscriptionEffectiveFrom.Immediately if is_paused else SubscriptionEffectiveFrom.NextBillingPeriod
        self._wire.make(f"/subscriptions/{subscription['id']}/cancel", CancelSubscription(at))

    def _put_back(self, subscription: Json) -> None:
        """Take a plan back that waits for the next period."""
        if held(subscription) is not None:
            self._update(subscription["id"], put_back(subscription))

    def _unschedule(self, subscription: Json, action: str) -> None:
        if is_scheduled(subscription, action):
            self._update(subscription["id"], UNSCHEDULED)

    def _finished(self, subscription: Json, listed: list[Json]) -> Json:
        """The subscription, switched where an upgrade was charged and then cut off before the switch."""
        charges = [one for one in listed if charge_of(one) and one["status"] in SETTLED]
        newest = max(charges, key=lambda one: one["created_at"], default=None)
        period = period_of(subscription)
        if newest is None or period is None or subscription["status"] != "active":
            return subscription
        charge = charge_of(newest)
        is_done = marks_of(subscription).get("purser_paid") == charge["purser_change"]
        if is_done or datetime.fromisoformat(charge["purser_until"]) != period.end:
            return subscription
        try:
            return self._update(subscription["id"], switched_by_charge(subscription, newest))
        except ProviderRefused:
            return subscription  # it is about to renew: the next look is after that

    def _update(self, reference: str, asked: UpdateSubscription) -> Json:
        return self._wire.change(f"/subscriptions/{reference}", asked)

    def _get(self, reference: str) -> Json:
        return self._wire.get(f"/subscriptions/{reference}", {})

    def _begun(self, transaction_id: str) -> str | None:
        reference: str | None = self._wire.get(f"/transactions/{transaction_id}", {}).get("subscription_id")
        return reference

    def _newest(self, reference: str) -> list[Json]:
        given = {"subscription_id": reference, "include": "adjustment", "order_by": "id[DESC]"}
        return self._wire.first("/transactions", given | {"per_page": str(NEWEST)})


def _sold_now(subscription: Json) -> Sold | None:
    """What is paid for now, whatever waits."""
    waits = held(subscription)
    return waits.sold if waits else sold_by(item_of(subscription))
