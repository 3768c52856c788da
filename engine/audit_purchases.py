"""The audit of purchases: each against its rows in the ledger, its lots and what its provider has said of it.

Every landed purchase has exactly the grants that it names, a payment that was paid as agreed, and as many credits out
as its facts demand (`engine/rules/audit_purchases.py` says of which this can be told exactly); it landed at the instant
of its grant. Whatever a row gave, took or gave back by a purchase's name has that purchase.

A fact whose amount is told otherwise shows where other credits follow from it, or where it is a payment's or that of
a refund of ours (`engine/audit_desk.py`); not where a share of the credits rounds down to the same number, nor where
it is a refund from elsewhere of more than all that was paid.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Row as Found
from sqlalchemy import select, text, tuple_
from sqlmodel import Session

from engine.rules.audit import Finding
from engine.rules.audit_purchases import KeptPurchase, wrong_with
from engine.rules.commits import landed_of, part_of
from engine.rules.money import Money
from engine.rules.purchases import KnownFact, Terms
from engine.store.bulk import Row, select_rows
from engine.store.purchases import read_fact
from engine.store.tables import Base

CHUNK = 5_000
GRANTS = ("deposit", "auto_recharge", "volume_discount", "coupon_credit", "monthly_credit", "commit_credit")
_PURCHASES = (
    "SELECT p.account_id, p.purchase_id, p.subscription_id, p.landed_at, p.base_credits, p.bonus_credits, "
    "p.credits_out, p.status, p.is_disputed, p.problem, p.amount_minor, p.currency, p.provider_reference, "
    "c.parts_landed, c.parts, coalesce(u.credits, 0) AS coupon, d.action FROM purchases p LEFT JOIN commit_purchases c "
    "ON c.account_id = p.account_id AND c.purchase_id = p.purchase_id LEFT JOIN purchase_coupons u "
    "ON u.account_id = p.account_id AND u.purchase_id = p.purchase_id LEFT JOIN resolutions d "
    "ON d.account_id = p.account_id AND d.purchase_id = p.purchase_id "
    "WHERE (p.account_id, p.purchase_id) > (:account, :purchase) ORDER BY p.account_id, p.purchase_id LIMIT :limit"
)
_FACTS = Base.metadata.tables["purchase_facts"]
_OF = tuple_(_FACTS.c.account_id, _FACTS.c.purchase_id)


@dataclass(slots=True)
class _Rows:
    """What the ledger has under one purchase's name: its grants, and the first of them by `seq`."""

    grants: list[tuple[str, int]] = field(default_factory=list)
    first_seq: int = 0
    first_at: Any = None


def audit_purchases(session: Session, findings: list[Finding]) -> int:
    """Read every purchase; how many there are. What is wrong is added to `findings`."""
    granted, others = _ledger(session)
    count = 0
    early: list[tuple[Row, str]] = []
    for page, facts in _pages(session):
        for row in page:
            count += 1
            key = (row.account_id, row.purchase_id)
            has = granted.pop(key, _Rows())
            others.discard(key)
            findings += [Finding(row.purchase_id, what) for what in _wrong(row, has, facts.get(key, ()))]
            if has.first_at is not None and row.subscription_id is None and row.landed_at is not None:
                if row.landed_at > has.first_at:
                    findings.append(Finding(row.purchase_id, "it landed later than its credits"))
                elif row.landed_at < has.first_at:
                    early.append(((row.account_id, has.first_seq), row.purchase_id))
    for (_, purchase_id), has in sorted(granted.items()):
        findings.append(Finding(purchase_id, f"grants without a purchase: {has.grants}"))
    for account_id, purchase_id in sorted(others - granted.keys()):
        findings.append(Finding(purchase_id, f"rows of {account_id} name it and there is no such purchase"))
    _audit_early(session, early, findings)
    _audit_lots(session, findings)
    return count


def _ledger(session: Session) -> tuple[dict[Row, _Rows], set[Row]]:
    """What was granted by each purchase's name, and every name under which something else was moved."""
    granted: dict[Row, _Rows] = defaultdict(_Rows)
    others: set[Row] = set()
    for account_id, purchase_id, seq, kind, credits, created_at in session.execute(
        text(
            "SELECT account_id, purchase_id, seq, type, amount_credits, created_at FROM transactions "
            "WHERE purchase_id IS NOT NULL"
        )
    ):
        if kind in GRANTS:
            has = granted[(account_id, purchase_id)]
            has.grants.append((kind, credits))
            if has.first_at is None or seq < has.first_seq:
                has.first_seq, has.first_at = seq, created_at
        else:
            others.add((account_id, purchase_id))
    return granted, others


def _pages(session: Session) -> Iterator[tuple[Sequence[Found[Any]], dict[Row, list[KnownFact]]]]:
    """All purchases in windows of their key, each window with its facts."""
    after = ("", "")
    while True:
        page = session.execute(text(_PURCHASES), {"account": after[0], "purchase": after[1], "limit": CHUNK}).all()
        if not page:
            return
        before, after = after, (page[-1].account_id, page[-1].purchase_id)
        facts: dict[Row, list[KnownFact]] = defaultdict(list)
        for row in session.execute(select(_FACTS).where(tuple_(*before) < _OF, tuple_(*after) >= _OF)):
            facts[(row.account_id, row.purchase_id)].append(read_fact(row))
        yield page, facts


def _wrong(row: Found[Any], has: _Rows, facts: Sequence[KnownFact]) -> Iterator[str]:
    """What is wrong with a purchase. A subscription's payment names the sum of what was granted for it so far."""
    has_landed, landed, parts = row.landed_at is not None, row.parts_landed, row.parts or 1
    numbers = range(1, (1 if landed is None else landed) + 1) if has_landed else range(0)
    wholes = (row.base_credits, row.bonus_credits - row.coupon, row.coupon)
    named = [part for whole in wholes for n in numbers if (part := part_of(whole, n, parts))]
    is_sum = row.subscription_id is not None and sum(credits for _, credits in has.grants) == sum(named)
    if not is_sum and sorted(credits for _, credits in has.grants) != sorted(named):
        yield f"it names the grants {named} and has {has.grants}"
    if not has_landed and row.credits_out:
        yield f"{row.credits_out} credits are out of it and it never landed"
    base, bonus = row.base_credits, row.bonus_credits
    if has_landed and landed is not None:
        base, bonus = landed_of(base, landed, parts), landed_of(bonus, landed, parts)
    kept = KeptPurchase(
        terms=Terms(
            Money(row.amount_minor, row.currency),
            base,
            bonus,
            has_landed=has_landed,
            credited=row.provider_reference if has_landed else None,
        ),
        status=row.status,
        is_disputed=bool(row.is_disputed),
        out_credits=row.credits_out,
        has_problem=row.problem is not None,
        is_of_subscription=row.subscription_id is not None,
        is_accepted=row.action == "credit",
    )
    yield from wrong_with(kept, facts)


def _audit_early(session: Session, early: Sequence[tuple[Row, str]], findings: list[Finding]) -> None:
    """Purchases that landed before their credits: right only where the wallet's time was ahead of the clock, so that
    the grant has the time of the row before it, or that of the account where it is the first."""
    if not early:
        return
    names = ("account_id", "seq", "created_at")
    places = [place for (account_id, seq), _ in early for place in ((account_id, seq), (account_id, seq - 1))]
    at = {(row[0], row[1]): row[2] for row in select_rows(session, "transactions", names, names[:2], places)}
    opened: list[Row] = [(place[0],) for place, _ in early if place[1] == 1]
    for account_id, created_at in select_rows(session, "accounts", ("account_id", "created_at"), names[:1], opened):
        at[(account_id, 0)] = created_at
    for (account_id, seq), purchase_id in early:
        if at.get((account_id, seq)) != at.get((account_id, seq - 1)):
            findings.append(Finding(purchase_id, "it landed earlier than its credits"))


def _audit_lots(session: Session, findings: list[Finding]) -> None:
    """What the lots of a purchase cost is what was paid, and what they say was taken or is owed is what is out of it;
    where some of it expired or was forfeited, or of a subscription's payment, no more."""
    for purchase_id, cost, amount in session.execute(
        text(
            "SELECT p.purchase_id, sum(l.cost_minor), p.amount_minor FROM purchases p "
            "JOIN lots l ON l.account_id = p.account_id AND l.purchase_id = p.purchase_id "
            "GROUP BY p.account_id, p.purchase_id, p.amount_minor, p.currency "
            "HAVING sum(l.cost_minor) > p.amount_minor OR min(l.cost_currency) <> p.currency "
            "OR max(l.cost_currency) <> p.currency "
            "OR (sum(l.cost_minor) < p.amount_minor AND min(l.source) IN ('coupon', 'custom_credits'))"
        )
    ):
        findings.append(Finding(purchase_id, f"its lots cost {cost}, it was {amount}, or another currency"))
    for purchase_id, out, taken in session.execute(
        text(
            "SELECT p.purchase_id, p.credits_out, sum(l.taken_credits + l.owed_credits) FROM purchases p "
            "JOIN lots l ON l.account_id = p.account_id AND l.purchase_id = p.purchase_id "
            "GROUP BY p.account_id, p.purchase_id, p.credits_out, p.subscription_id "
            "HAVING sum(l.taken_credits + l.owed_credits) > p.credits_out "
            "OR (sum(l.taken_credits + l.owed_credits) < p.credits_out AND sum(l.expired_credits) = 0 "
            "AND p.subscription_id IS NULL)"
        )
    ):
        findings.append(Finding(purchase_id, f"{taken} credits were taken of it, {out} are to be out"))
