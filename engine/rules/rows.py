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
    row = Transaction(  # in the order of its fields: naming them all once more takes a tenth of a spend's decision
        page.wallet.account_id,
        page.wallet.seq,
        transaction_id(terms.mint("txn", page.at), page.wallet.seq),
        type,
        amount_credits,
        page.wallet.available_credits,
        page.wallet.debt_credits,
        source,
        description,
        reference_type,
        reference_id,
        reverses_id,
        purchase_id,
        provider_id,
        provider_name,
        capability_id,
        outcome,
        call_id,
        actor,
        metadata,
        entries,
        page.at,
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
