"""What a person decides of a second payment: its money goes back through its provider, or it is left as it is."""

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from engine.flows.converge import apply_facts
from engine.flows.rails import rail_for_job
from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.errors import AlreadyRefunded, NotFound, RefundNotPossible
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, sent_back_minor
from engine.runtime import Runtime
from engine.store import books, outbox, proposals, purchases
from engine.store.database import reading, transact
from engine.store.tables import PurchaseRow, SecondPaymentRow


@dataclass(frozen=True, slots=True)
class SentBack:
    """A second payment as it was decided; `is_replay` when it was decided this way before."""

    row: SecondPaymentRow
    is_replay: bool


def find(runtime: Runtime, second_id: str) -> SecondPaymentRow:
    with reading(runtime.db) as session:
        row = proposals.find_second_payment(session, second_id)
    if row is None:
        raise NotFound("second payment")
    return row


def decide(runtime: Runtime, second_id: str, actor: str, reason: str, *, send_back: bool) -> SentBack:
    """Send the money back (a job asks the provider), or dismiss it; decided in another way before: refused."""
    found = find(runtime, second_id)
    wanted = "refunding" if send_back else "dismissed"

    def work(session: Session) -> SentBack:
        now = runtime.clock.now()
        row, purchase = _locked(session, runtime, found)
        if row.status == wanted or (send_back and row.status == "refunded" and row.decided_by is not None):
            return SentBack(row, is_replay=True)
        if row.status != "waiting":
            raise AlreadyRefunded("This was decided before.", decided=row.status)
        provider = runtime.providers.get(purchase.provider)
        if send_back and (provider is None or not provider.can_refund):
            raise RefundNotPossible(f"{purchase.provider} decides its own refunds; they can't be made from here.")
        # From here it must succeed.
        row.status, row.decided_by, row.reason, row.updated_at, row.problem = wanted, actor, reason, now, None
        if send_back:
            row.tries += 1
            known = purchases.known_facts(session, row.account_id, row.purchase_id)
            purchases.keep_fact(session, row.account_id, row.purchase_id, _own_fact(row, known, "pending"), now)
            outbox.enqueue(session, row.account_id, "refund_second", {"secondId": second_id}, now)
        session.add(row)
        session.flush()
        facts: dict[str, object] = {"purchaseId": row.purchase_id, "amountMinor": row.amount_minor}
        facts["payment"] = row.payment_id
        outbox.note_act(session, row.account_id, actor, f"second_payment.{wanted}", second_id, reason, facts, now)
        return SentBack(row, is_replay=False)

    return transact(runtime.db, work)


def send(runtime: Runtime, second_id: str) -> None:
    """Ask the provider for what is left of the money; safe to repeat. A no puts the payment back into the queue.

    Each try is a refund of its own: a try that is repeated finds the refund it made, and a new one never an old one.
    """
    row = find(runtime, second_id)
    if row.status != "refunding":
        return
    with reading(runtime.db) as session:
        purchase = purchases.get_purchase(session, row.account_id, row.purchase_id)
        known = purchases.known_facts(session, row.account_id, row.purchase_id)
    assert purchase is not None
    provider = rail_for_job(runtime, purchase.provider)
    left = _left(row, known)
    request = RefundRequest(
        account_id=row.account_id,
        purchase_id=row.purchase_id,
        reversal_id=_try_id(row),
        payment_id=row.payment_id,
        amount=left,
        idempotency_key=f"refund:{second_id}:{row.tries}",
        is_whole=left.minor == row.amount_minor,
    )
    problem = None
    facts: tuple[Fact, ...] = ()
    try:
        facts = provider.refund(request)
        if any(fact.state == "failed" for fact in facts):
            problem = "The provider's refund failed."
    except ProviderRefused as refused:
        problem = str(refused)

    def work(session: Session) -> None:
        there, _ = _locked(session, runtime, row)
        if problem is not None and there.status == "refunding" and there.tries == row.tries:
            _wait_again(session, there, problem, runtime.clock.now())
        apply_facts(session, runtime, row.account_id, row.purchase_id, facts, f"provider:{purchase.provider}")

    transact(runtime.db, work)


def _wait_again(session: Session, row: SecondPaymentRow, problem: str, now: datetime) -> None:
    """The provider said no: so ends this try, unless something else is known of its refund."""
    row.status, row.problem, row.updated_at = "waiting", problem[:500], now
    session.add(row)
    session.flush()
    known = purchases.known_facts(session, row.account_id, row.purchase_id)
    if not any(fact.fact_id == _try_id(row) and fact.object_id is not None for fact in known):
        purchases.keep_fact(session, row.account_id, row.purchase_id, _own_fact(row, known, "failed"), now)


def _try_id(row: SecondPaymentRow) -> str:
    """What names this try at the provider: the row for the first one, and its number after that."""
    return row.second_id if row.tries == 1 else f"{row.second_id}_{row.tries}"


def _left(row: SecondPaymentRow, known: list[KnownFact]) -> Money:
    return Money(row.amount_minor - sent_back_minor(known, row.payment_id, firm=True), row.currency)


def _own_fact(row: SecondPaymentRow, known: list[KnownFact], state: str) -> KnownFact:
    """This try as a fact: version 0, so that the first word of the provider about it is newer. It takes no credits."""
    payment = next(fact for fact in known if fact.kind == "payment" and fact.fact_id == row.payment_id)
    return KnownFact(
        fact_id=_try_id(row),
        kind="refund",
        object_id=None,
        state=state,
        amount=_left(row, known),
        version=0,
        is_live=payment.is_live,
        own_credits=0,
        parent_id=row.payment_id,
    )


def _locked(session: Session, runtime: Runtime, found: SecondPaymentRow) -> tuple[SecondPaymentRow, PurchaseRow]:
    """The wallet's lock, then the purchase's; nobody writes the row without them."""
    books.lock_wallets(session, [found.account_id], runtime.clock.now())
    purchase = purchases.get_purchase(session, found.account_id, found.purchase_id, lock=True)
    row = proposals.second_payment(session, found.account_id, found.purchase_id, found.payment_id)
    assert purchase is not None and row is not None, "they were found before, and are never deleted"
    return row, purchase
