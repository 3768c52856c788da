"""Making the books agree with what a provider has said: the one place where a payment becomes credits.

Everything that brings facts ends here: webhooks, fetches by the sweeper, our own refunds before and after the
provider's answer. Facts are upserted, the rules judge the whole set, and the difference is posted, in the caller's
transaction and under the wallet's lock. Saying the same again changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from sqlmodel import Session

from engine import book
from engine.flows import cases
from engine.flows.cards import keep_saved_card
from engine.flows.coupon_uses import count_use
from engine.flows.granting import commit_of, count_part, grants_of, terms_of
from engine.flows.rails import Rail, rail_of
from engine.flows.recharge_outcome import note_charge
from engine.flows.second_payments import note_second_payments
from engine.rules.catalog import PROVIDER_NAMES
from engine.rules.commands import GiveBack, Posted, TakeBack
from engine.rules.descriptions import describe, money_label
from engine.rules.errors import Refusal
from engine.rules.facts import Fact
from engine.rules.ledger import Transaction
from engine.rules.lots import Lot
from engine.rules.money import Money, share_down
from engine.rules.money_back import mark_of_money
from engine.rules.purchases import Demands, KnownFact, Verdict, converge, merge
from engine.runtime import Runtime
from engine.store import books, coupons, documents, outbox, proposals, purchases
from engine.store.tables import CommitRow, PurchaseRow, ReversalRow

CHECK_AFTER = timedelta(minutes=15)
"""A payment that is on its way is asked for after this long, should no webhook say how it ended."""


def apply_facts(
    session: Session, runtime: Runtime, account_id: str, purchase_id: str, facts: Iterable[Fact], actor: str
) -> PurchaseRow | None:
    """Take the wallet's lock, then the purchase's, keep what is new and post what follows; the purchase, if any."""
    books.lock_wallets(session, [account_id], runtime.clock.now())
    purchase = purchases.get_purchase(session, account_id, purchase_id, lock=True)
    if purchase is None:
        return None
    now = runtime.clock.now()
    facts = tuple(facts)
    for fact in facts:
        known = purchases.known_facts(session, account_id, purchase_id)
        kept = merge(known, fact)
        if kept is not None:
            purchases.keep_fact(session, account_id, purchase_id, kept, now)
        if fact.receipt_url and fact.kind == "payment":
            purchase.receipt_url = fact.receipt_url
    settle(session, runtime, purchase, actor)
    keep_saved_card(session, runtime, purchase, facts)
    if purchase.kind == "auto_recharge":
        note_charge(session, runtime, purchase, facts)
    return purchase


def settle(session: Session, runtime: Runtime, purchase: PurchaseRow, actor: str, *, is_accepted: bool = False) -> None:
    """Post the difference between what the facts demand and what the ledger has; the wallet is locked.

    With `is_accepted` an operator has decided that the payment counts although it is not the one that was agreed.
    """
    provider = rail_of(session, runtime, purchase)
    known = purchases.known_facts(session, purchase.account_id, purchase.purchase_id)
    commit = commit_of(session, purchase)
    freezes = runtime.catalog.refunds.early_fraud_warnings == "freeze"
    terms = terms_of(purchase, commit)
    if is_accepted:
        terms = replace(terms, has_landed=True, credited=purchase.provider_reference)
    verdict = converge(terms, known, provider.is_live, freezes)
    out_before = purchase.credits_out
    now = runtime.clock.now()
    if _waits_for_a_person(purchase):
        verdict = replace(verdict, status="refunded" if verdict.status == "refunded" else "quarantined")
    if verdict.paid_by is not None and purchase.landed_at is None and purchase.subscription_id is None:
        verdict = _land(session, runtime, purchase, commit, provider, verdict, actor)
        if commit is not None and purchase.landed_at is not None:  # of its credits, one part has landed
            verdict = converge(terms_of(purchase, commit), known, provider.is_live, freezes)
    if purchase.landed_at is not None:
        states = ("lost", "open", "warning") if freezes else ("lost", "open")
        demands = Demands(verdict, terms_of(purchase, commit), tuple(known), states)
        _post_difference(session, runtime, purchase, demands, actor)
    _note_status(session, runtime, purchase, verdict, out_before, now)
    _note_refunds(session, purchase, now)
    note_second_payments(session, purchase, provider, now)
    if purchase.landed_at is not None:
        cases.note_foreign(session, purchase, purchases.facts_of(session, purchase), now)
    count_use(session, purchase, now)
    count_part(commit, purchase.status == "refunded", purchase.landed_at)
    session.add(purchase)
    session.flush()


def _waits_for_a_person(purchase: PurchaseRow) -> bool:
    """Whether it is a subscription's payment that was not credited, or whose months the wallet could not take.

    It waits until all of its money went back, and again should that fail.
    """
    if purchase.subscription_id is None:
        return False
    is_refused = purchase.status in ("quarantined", "refunded") and purchase.problem is not None
    return purchase.landed_at is None or is_refused


def _land(
    session: Session,
    runtime: Runtime,
    purchase: PurchaseRow,
    commit: CommitRow | None,
    provider: Rail,
    verdict: Verdict,
    actor: str,
) -> Verdict:
    """Grant what the purchase says, once for this payment in the whole service; else the verdict with a problem."""
    now = runtime.clock.now()
    payment = verdict.paid_by
    assert payment is not None and payment.object_id is not None
    if proposals.second_payment(session, purchase.account_id, purchase.purchase_id, payment.object_id) is not None:
        return _uncredited(verdict, "a person decides of this payment")
    mode = "live" if payment.is_live else "test"
    claimed = purchases.claim_object(
        session, provider.name, provider.account, mode, "payment", payment.object_id, purchase, now
    )
    if not claimed:
        return _uncredited(verdict, "this payment belongs to another purchase")
    purchase.provider_reference = payment.object_id
    commands = grants_of(runtime, purchase, commit, payment.object_id, actor, coupons.coupon_of(session, purchase))
    outcomes = book.post(session, commands, runtime.terms, now)
    refused = next((outcome for outcome in outcomes if isinstance(outcome, Refusal)), None)
    if refused is not None:
        assert outcomes[0] is refused, "base and bonus are granted together or not at all"
        return _uncredited(verdict, f"{refused.code}: {refused.detail}")
    purchase.landed_at = now
    purchase.problem = None
    last = _posted(outcomes[-1]).transactions[-1]
    if commit is not None:
        commit.parts_landed = 1
    _follow(session, purchase, provider, last, now)
    return verdict


def _follow(session: Session, purchase: PurchaseRow, provider: Rail, last: Transaction, now: datetime) -> None:
    """What a landed purchase sets off once this transaction is committed: its paper, its event, the store's word."""
    outbox.enqueue(
        session, purchase.account_id, "document", {"purchaseId": purchase.purchase_id, "kind": "receipt"}, now
    )
    if provider.needs_finish:
        outbox.enqueue(session, purchase.account_id, "store_finish", {"purchaseId": purchase.purchase_id}, now)
    outbox.emit(
        session,
        purchase.account_id,
        "purchase.completed",
        {
            "purchaseId": purchase.purchase_id,
            "creditsGranted": str(terms_credits(purchase)),
            "amountMinor": purchase.amount_minor,
            "currency": purchase.currency,
            "provider": purchase.provider,
            "seq": last.seq,
            "balanceAfter": str(last.balance_after),
        },
        now,
    )


def terms_credits(purchase: PurchaseRow) -> int:
    """What the purchase grants, bonus and coupon included."""
    return purchase.base_credits + purchase.bonus_credits


def _uncredited(verdict: Verdict, problem: str) -> Verdict:
    """A payment that can't be credited waits for an operator, unless all of its money went back."""
    status = "refunded" if verdict.status == "refunded" else "quarantined"
    return Verdict(status, False, None, 0, 0, problem)


def _post_difference(session: Session, runtime: Runtime, purchase: PurchaseRow, demands: Demands, actor: str) -> None:
    """Take back or give back until `credits_out` is what the facts demand.

    An open dispute takes only what remains, so `credits_out` may stay below the target until it is lost. Of a
    subscription's payment never more than what remains is taken, now or once a hold lets it go.
    """
    verdict = demands.verdict
    missing = verdict.out_credits - purchase.credits_out
    if missing < 0:
        _give_back(session, runtime, purchase, -missing, demands, actor, out_credits=verdict.out_credits)
        purchase.credits_out = verdict.out_credits
    if purchase.subscription_id is not None:
        if missing > 0:
            kind = _cause(session, purchase) if verdict.firm_credits > purchase.credits_out else "dispute"
            purchase.credits_out += _take_back(
                session, runtime, purchase, missing, demands, owe=False, kind=kind, actor=actor
            )
        return
    if purchase.credits_out > verdict.firm_credits:
        _owe_no_more(session, runtime, purchase, demands, actor)
    firm = max(0, verdict.firm_credits - purchase.credits_out)
    if firm > 0:
        _take_back(session, runtime, purchase, firm, demands, owe=True, kind=_cause(session, purchase), actor=actor)
        purchase.credits_out += firm
    soft = verdict.out_credits - purchase.credits_out
    if soft > 0:
        purchase.credits_out += _take_back(
            session, runtime, purchase, soft, demands, owe=False, kind="dispute", actor=actor
        )


def _owe_no_more(session: Session, runtime: Runtime, purchase: PurchaseRow, demands: Demands, actor: str) -> None:
    """For a dispute that is only open nothing is owed: what was, for a refund that failed or while it was lost,
    is given back, and what was found in the purchase's lots stays out."""
    lots = purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id)
    taken = sum(lot.taken_credits for lot in lots)
    owed = sum(lot.owed_credits for lot in lots) - max(0, demands.verdict.firm_credits - taken)
    out = max(demands.verdict.firm_credits, taken)
    if owed > 0:
        _give_back(session, runtime, purchase, owed, demands, actor, out_credits=out, only_owed=True)
    purchase.credits_out = out


def _cause(session: Session, purchase: PurchaseRow) -> str:
    """Whether credits go for good because of a lost dispute or of a refund."""
    facts = purchases.facts_of(session, purchase)
    return "dispute" if any(fact.kind == "dispute" and fact.state == "lost" for fact in facts) else "refund"


def _take_back(
    session: Session,
    runtime: Runtime,
    purchase: PurchaseRow,
    credits: int,
    demands: Demands,
    *,
    owe: bool,
    kind: str,
    actor: str,
) -> int:
    """Post a `TakeBack` that says how much money went back; the credits it found in the purchase's lots, made into
    debt, or takes from holds later."""
    words = runtime.catalog.descriptions
    template = words.refund if kind == "refund" else words.dispute
    before = purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id)
    found = credits if owe else min(credits, sum(lot.remaining_credits + lot.uncalled_credits for lot in before))
    if found == 0:
        return 0
    minor = demands.moved(purchase.credits_out, is_firm=owe)
    command = TakeBack(
        account_id=purchase.account_id,
        actor=actor,
        type="refund" if kind == "refund" else "dispute",
        purchase_id=purchase.purchase_id,
        credits=credits,
        owe=owe,
        description=_words(template, purchase, credits, minor),
        reference_type=f"{purchase.provider}_payment",
        reference_id=purchase.provider_reference,
        metadata=mark_of_money(demands.money_out(purchase.credits_out + found)),
    )
    _posted(book.post(session, [command], runtime.terms, runtime.clock.now())[0])
    after = purchases.purchase_lots(session, purchase.account_id, purchase.purchase_id)
    return _out_of(after) - _out_of(before)


def _out_of(lots: Iterable[Lot]) -> int:
    return sum(lot.taken_credits + lot.owed_credits for lot in lots)


def _give_back(
    session: Session,
    runtime: Runtime,
    purchase: PurchaseRow,
    credits: int,
    demands: Demands,
    actor: str,
    *,
    out_credits: int,
    only_owed: bool = False,
) -> None:
    words = runtime.catalog.descriptions
    facts = purchases.facts_of(session, purchase)
    is_dispute = only_owed or any(fact.kind == "dispute" and fact.state in ("won", "prevented") for fact in facts)
    has_failed = any(fact.kind == "refund" and fact.state == "failed" for fact in facts)
    won = is_dispute and not has_failed
    minor = None if only_owed else demands.moved(purchase.credits_out, is_firm=False)
    command = GiveBack(
        account_id=purchase.account_id,
        actor=actor,
        type="dispute_won" if won else "refund_failed",
        purchase_id=purchase.purchase_id,
        credits=credits,
        description=_words(words.dispute_won if won else words.refund_failed, purchase, credits, minor),
        only_owed=only_owed,
        reference_type=f"{purchase.provider}_payment",
        reference_id=purchase.provider_reference,
        metadata=mark_of_money(demands.money_out(out_credits)),
    )
    _posted(book.post(session, [command], runtime.terms, runtime.clock.now())[0])


def _words(template: str, purchase: PurchaseRow, credits: int, minor: int | None) -> str:
    """The catalogue's sentence with the money that moved; where no fact says so, with these credits' share of the
    price."""
    share = share_down(purchase.amount_minor, credits, terms_credits(purchase))
    amount = money_label(Money(share if minor is None else minor, purchase.currency))
    return describe(template, amount=amount, provider=PROVIDER_NAMES[purchase.provider])


def _posted(outcome: object) -> Posted:
    assert isinstance(outcome, Posted), f"money that moved is a fact, not {outcome!r}"
    return outcome


def _note_status(
    session: Session, runtime: Runtime, purchase: PurchaseRow, verdict: Verdict, out_before: int, now: datetime
) -> None:
    before = (purchase.status, purchase.is_disputed)
    if verdict.status == "open" and purchase.status in ("expired", "cancelled", "failed", "created"):
        return
    purchase.status = verdict.status
    purchase.is_disputed = verdict.is_disputed
    if verdict.problem is not None:
        purchase.problem = verdict.problem[:500]
    is_refunded_again = purchase.status == "partially_refunded" and purchase.credits_out > out_before
    if before == (purchase.status, purchase.is_disputed) and not is_refunded_again:
        return
    purchase.updated_at = now
    if purchase.status == "processing":
        asked: dict[str, object] = {"purchaseId": purchase.purchase_id}
        outbox.enqueue(session, purchase.account_id, "payment_check", asked, now, now + CHECK_AFTER)
    event = {
        "failed": "purchase.failed",
        "refunded": "purchase.refunded",
        "partially_refunded": "purchase.refunded",
    }.get(purchase.status)
    if purchase.is_disputed and not before[1]:
        event = "purchase.disputed"
    if event is not None:
        data: dict[str, object] = {
            "purchaseId": purchase.purchase_id,
            "status": purchase.status,
            "amountMinor": purchase.amount_minor,
            "currency": purchase.currency,
            "provider": purchase.provider,
            "creditsTakenBack": str(purchase.credits_out),
        }
        outbox.emit(session, purchase.account_id, event, data, now)


def _note_refunds(session: Session, purchase: PurchaseRow, now: datetime) -> None:
    """A refund that succeeded gets a credit note; our own reversal learns how it ended."""
    for fact in purchases.facts_of(session, purchase):
        if fact.kind != "refund":
            continue
        reversal = session.get(ReversalRow, (purchase.account_id, fact.fact_id))
        if reversal is not None:
            _note_end(session, reversal, fact.state, now)
        if purchase.landed_at is not None and fact.amount.currency == purchase.currency:
            _note_document(session, purchase, fact, now)


def _note_end(session: Session, reversal: ReversalRow, state: str, now: datetime) -> None:
    """How our own refund ended, whatever was heard of it before."""
    is_asked = reversal.status in ("refunding", "succeeded", "failed")
    if is_asked and state in ("succeeded", "failed") and state != reversal.status:
        reversal.status = state
        reversal.problem = None if state == "succeeded" else reversal.problem
        reversal.updated_at = now
        session.add(reversal)


def _note_document(session: Session, purchase: PurchaseRow, fact: KnownFact, now: datetime) -> None:
    """The paper that a refund calls for: a credit note once it succeeded, its cancellation if it failed after all."""
    account_id, purchase_id = purchase.account_id, purchase.purchase_id
    has_note = documents.has_document(session, account_id, purchase_id, "credit_note", fact.fact_id)
    kind = None
    if fact.state == "succeeded" and not has_note:
        kind = "credit_note"
    elif fact.state == "failed" and has_note:
        kind = "cancellation"
    if kind is not None:
        payload: dict[str, object] = {"purchaseId": purchase_id, "kind": kind, "cause": fact.fact_id}
        outbox.enqueue(session, account_id, "document", payload, now)
