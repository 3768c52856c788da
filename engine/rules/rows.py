"""Writing on a page: the terms of a decision, the ledger row that says what it did, and the day's total."""

from dataclasses import dataclass, field
from datetime import datetime

from engine.rules.descriptions import Descriptions
from engine.rules.holds import HoldRules
from engine.rules.ledger import Entry, Mint, Page, Transaction, transaction_id


@dataclass(slots=True)
class Wanted:
    """The events that are written only if somebody listens: a row for each would double what a spend costs.

    The only part of the terms that changes while a process runs; `always` (a demo's) stays whoever listens.
    """

    events: frozenset[str] = frozenset()
    always: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Terms:
    """What deciding needs beside the pages: an id maker, the chain's key, the catalogue's words and rules."""

    mint: Mint
    chain_key: bytes
    descriptions: Descriptions = field(default_factory=Descriptions)
    holds: HoldRules = field(default_factory=HoldRules)
    wanted: Wanted = field(default_factory=Wanted)


def write(
    page: Page,
    terms: Terms,
    actor: str,
    *,
    type: str,
    amount_credits: int,
    entries: tuple[Entry, ...],
    source: str | None = None,
    description: str = "",
    reference_type: str | None = None,
    reference_id: str | None = None,
    reverses_id: str | None = None,
    purchase_id: str | None = None,
    provider_id: str | None = None,
    provider_name: str | None = None,
    capability_id: str | None = None,
    outcome: str | None = None,
    call_id: str | None = None,
    api_key_id: str | None = None,
    metadata: str = "{}",
) -> Transaction:
    """Append one row to the page: the next `seq`, the running balance and debt. Sealing puts it on the chain."""
    page.wallet.seq += 1
    row = Transaction(
        account_id=page.wallet.account_id,
        seq=page.wallet.seq,
        transaction_id=transaction_id(terms.mint("txn", page.at), page.wallet.seq),
        type=type,
        amount_credits=amount_credits,
        balance_after=page.wallet.available_credits,
        debt_after=page.wallet.debt_credits,
        source=source,
        description=description,
        reference_type=reference_type,
        reference_id=reference_id,
        reverses_id=reverses_id,
        purchase_id=purchase_id,
        provider_id=provider_id,
        provider_name=provider_name,
        capability_id=capability_id,
        outcome=outcome,
        call_id=call_id,
        actor=actor,
        metadata=metadata,
        entries=entries,
        created_at=page.at,
        api_key_id=api_key_id,
    )
    return page.add(row)


def count_spent(page: Page, credits: int, at: datetime, api_key_id: str | None = None) -> None:
    """Keep the UTC day's total of the wallet, and of the API key that was named.

    What comes back gives room only on the day on which it counted.
    """
    if credits != 0:
        if api_key_id is not None:
            page.keys[api_key_id].spent_credits += credits
        page.wallet.spent_credits = page.wallet.spent_today(at.date()) + credits
        page.wallet.spent_on = at.date()
