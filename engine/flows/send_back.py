"""What a person decides of a second payment: its money goes back through its provider, or it is left as it is."""

from dataclasses import dataclass

from sqlmodel import Session

from engine.flows.converge import apply_facts
from engine.payments import Fact, ProviderRefused, RefundRequest
from engine.rules.errors import AlreadyRefunded, NotFound, RefundNotPossible
from engine.rules.money import Money
from engine.rules.purchases import sent_back_minor
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
            outbox.enqueue(session, row.account_id, "refund_second", {"secondId": second_id}, now)
        session.add(row)
        session.flush()
        facts: dict[str, object] = {"purchaseId": row.purchase_id, "amountMinor": row.amount_minor}
        facts["payment"] = row.payment_id
        outbox.note_act(session, row.account_id, actor, f"second_payment.{wanted}", second_id, reason, facts, now)
        return SentBack(row, is_replay=False)

    return transact(runtime.db, work)


def send(runtime: Runtime, second_id: str) -> None:
    """Ask the provider for what is left of the money; safe to repeat. A no puts the payment back into the queue."""
    row = find(runtime, second_id)
    if row.status != "refunding":
        return
    with reading(runtime.db) as session:
        purchase = purchases.get_purchase(session, row.account_id, row.purchase_id)
        known = purchases.known_facts(session, row.account_id, row.purchase_id)
    assert purchase is not None
    left = row.amount_minor - sent_back_minor(known, row.payment_id, firm=True)
    request = RefundRequest(
        account_id=row.account_id,
        purchase_id=row.purchase_id,
        reversal_id=second_id,
        payment_id=row.payment_id,
        amount=Money(left, row.currency),
        idempotency_key=f"refund:{second_id}:{row.tries}",
        is_whole=left == row.amount_minor,
    )
    problem = None
    facts: tuple[Fact, ...] = ()
    try:
        facts = runtime.providers[purchase.provider].refund(request)
        if any(fact.state == "failed" for fact in facts):
            problem = "The provider's refund failed."
    except ProviderRefused as refused:
        problem = str(refused)

    def work(session: Session) -> None:
        there, _ = _locked(session, runtime, row)
        if problem is not None and there.status == "refunding":
            there.status, there.problem = "waiting", problem[:500]
            there.updated_at = runtime.clock.now()
            session.add(there)
            session.flush()
        apply_facts(session, runtime, row.account_id, row.purchase_id, facts, f"provider:{purchase.provider}")

    transact(runtime.db, work)


def _locked(session: Session, runtime: Runtime, found: SecondPaymentRow) -> tuple[SecondPaymentRow, PurchaseRow]:
    """The wallet's lock, then the purchase's; nobody writes the row without them."""
    books.lock_wallets(session, [found.account_id], runtime.clock.now())
    purchase = purchases.get_purchase(session, found.account_id, found.purchase_id, lock=True)
    row = proposals.second_payment(session, found.account_id, found.purchase_id, found.payment_id)
    assert purchase is not None and row is not None, "they were found before, and are never deleted"
    return row, purchase
