"""The audit of what stands beside the books: wallets' status, keys' days, decisions of the desk, refunds that were
asked for, invoices, claimed store purchases.

Each check holds by construction: whoever writes the row writes what it points at in the same transaction.
"""

from collections.abc import Iterator

from sqlalchemy import text
from sqlmodel import Session

from engine.rules.audit import Finding
from engine.rules.lots import BUCKETS
from engine.store import books, scan

AMOUNT = books.TRANSACTION.index("amount_credits")
_CREDITS = " + ".join(f"available_{bucket} + held_{bucket}" for bucket in BUCKETS)

CHECKS: tuple[tuple[str, str], ...] = (
    (
        "the wallet's status is none that there is",
        "SELECT account_id FROM wallets WHERE status NOT IN ('active', 'suspended', 'closed')",
    ),
    (
        "the wallet is closed and has credits",
        f"SELECT account_id FROM wallets WHERE status = 'closed' AND {_CREDITS} <> 0",  # noqa: S608
    ),
    (
        "more counts on its keys today than on the wallet",
        "SELECT w.account_id FROM wallets w JOIN key_usage_daily k ON k.account_id = w.account_id "
        "AND k.day = w.spent_on GROUP BY w.account_id, w.spent_credits HAVING sum(k.credits_spent) > w.spent_credits",
    ),
    (
        "a key counts days on another account than its own",
        "SELECT DISTINCT k.api_key_id FROM key_usage_daily k WHERE NOT EXISTS (SELECT 1 FROM credentials c "
        "WHERE c.credential_id = k.api_key_id AND c.account_id = k.account_id)",
    ),
    (
        "it is approved without a transaction, or has one and is not",
        "SELECT proposal_id FROM proposals WHERE (status = 'approved') <> (transaction_id IS NOT NULL)",
    ),
    (
        "it is decided by nobody, or waits and was decided",
        "SELECT proposal_id FROM proposals WHERE (status = 'pending') <> (decided_by IS NULL)",
    ),
    (
        "its decision was a refund without one, or another decision with one",
        "SELECT purchase_id FROM resolutions WHERE (action = 'refund') <> (reversal_id IS NOT NULL)",
    ),
    (
        "the refund that was decided is not of this purchase",
        "SELECT d.purchase_id FROM resolutions d WHERE d.reversal_id IS NOT NULL AND NOT EXISTS (SELECT 1 "
        "FROM reversals r WHERE r.account_id = d.account_id AND r.reversal_id = d.reversal_id "
        "AND r.purchase_id = d.purchase_id)",
    ),
    (
        "the refund that was asked for is not known, or as another one",
        "SELECT r.reversal_id FROM reversals r WHERE NOT EXISTS (SELECT 1 FROM purchase_facts f "
        "WHERE f.account_id = r.account_id AND f.purchase_id = r.purchase_id AND f.fact_id = r.reversal_id "
        "AND f.kind = 'refund' AND f.own_credits = r.credits AND f.amount_minor = r.amount_minor "
        "AND f.currency = r.currency)",
    ),
    (
        "its payment is not of its subscription",
        "SELECT i.invoice_id FROM subscription_invoices i WHERE i.purchase_id IS NOT NULL AND NOT EXISTS (SELECT 1 "
        "FROM purchases p WHERE p.account_id = i.account_id AND p.purchase_id = i.purchase_id "
        "AND p.subscription_id = i.subscription_id)",
    ),
    (
        "it counts as a second payment and no such payment came",
        "SELECT s.second_id FROM second_payments s WHERE NOT EXISTS (SELECT 1 FROM purchase_facts f "
        "WHERE f.account_id = s.account_id AND f.purchase_id = s.purchase_id AND f.fact_id = s.payment_id "
        "AND f.kind = 'payment')",
    ),
    (
        "the payment that was credited counts as a second one",
        "SELECT s.second_id FROM second_payments s JOIN purchases p ON p.account_id = s.account_id "
        "AND p.purchase_id = s.purchase_id WHERE p.provider_reference = s.payment_id",
    ),
    (
        "it is bound without a purchase of its store, or has one and is not",
        "SELECT s.unclaimed_id FROM store_purchases s LEFT JOIN purchases p ON p.account_id = s.account_id "
        "AND p.purchase_id = s.purchase_id AND p.provider = s.provider "
        "WHERE (s.status = 'bound') <> (p.purchase_id IS NOT NULL) OR (s.status = 'bound') <> (s.bound_at IS NOT NULL)",
    ),
)
"""What is wrong with a row, and the rows of which it is so."""


def desk_findings(session: Session) -> Iterator[Finding]:
    """Everything found, check by check."""
    for what, statement in CHECKS:
        for (found,) in session.execute(text(f"{statement} ORDER BY 1")):
            yield Finding(found, what)
    yield from _misposted(session)


def _misposted(session: Session) -> Iterator[Finding]:
    """Approved proposals whose transaction is not there or moved another amount."""
    approved = session.execute(
        text(
            "SELECT account_id, transaction_id, proposal_id, kind, credits FROM proposals "
            "WHERE transaction_id IS NOT NULL ORDER BY proposal_id"
        )
    ).all()
    rows = {(row[0], row[2]): row for row in scan.rows_by_id(session, {(each[0], each[1]) for each in approved})}
    for account_id, transaction_id, proposal_id, kind, credits in approved:
        row = rows.get((account_id, transaction_id))
        moved = -credits if kind == "admin_debit" else credits
        if row is None or row[AMOUNT] != moved:
            yield Finding(proposal_id, f"what it moved is not {moved}")
