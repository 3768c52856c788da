"""What giving back does to a wallet: a spend undone, a purchase's credits taken back, and returned."""

from collections.abc import Mapping, Sequence

from engine.rules import commands as c
from engine.rules import hold_decisions as holds
from engine.rules.descriptions import describe
from engine.rules.errors import Invalid, NotFound, SpendAlreadyReversed, WalletNotActive
from engine.rules.ledger import Entry, Page, Transaction
from engine.rules.lots import Draw, Lot, spend_order
from engine.rules.rows import Terms, count_spent, write


def reverse(page: Page, command: c.Reverse, terms: Terms) -> None:
    if page.wallet.status == "closed":
        raise WalletNotActive(page.wallet.status)
    spent = page.debits.get(command.transaction_id)
    if spent is None or spent.type != "debit":
        raise NotFound("spend")
    undone = page.reversed.setdefault(command.transaction_id, {})
    before = sum(undone.values())
    reversible = -spent.amount_credits - before
    if command.credits is not None and command.credits < 1:
        raise Invalid("amountCredits", "A reversal gives back at least one credit.")
    wanted = reversible if command.credits is None else command.credits
    if reversible == 0 or wanted > reversible:
        raise SpendAlreadyReversed(wanted or -spent.amount_credits, reversible)
    # From here the reversal must succeed.
    entries = _restore(page, [(page.lots[d.lot_id], d.credits) for d in _reversed_draws(spent, undone, wanted)], terms)
    for entry in entries:
        undone[entry.lot_id] = undone.get(entry.lot_id, 0) + entry.credits
    row = write(
        page,
        terms,
        command.actor,
        type="debit_reversal",
        amount_credits=wanted,
        entries=tuple(entries),
        description=command.description or describe(terms.descriptions.reversal, description=spent.description),
        reference_type="spend",
        reference_id=spent.transaction_id,
        reverses_id=spent.transaction_id,
        provider_id=spent.provider_id,
        capability_id=spent.capability_id,
        api_key_id=spent.api_key_id,
        metadata=command.metadata,
    )
    count_spent(page, -holds.room_given_back(page, spent, before, wanted), row.created_at, spent.api_key_id)


def take_back(page: Page, command: c.TakeBack, terms: Terms) -> None:
    lots = page.purchase_lots(command.purchase_id)
    if not lots:
        raise NotFound("purchase")
    # From here it must succeed: money that went back is a fact.
    entries = []
    missing = command.credits
    for lot in reversed(lots):
        part = min(lot.remaining_credits, missing)
        if part > 0:
            entries.append(page.move(lot, -part))
            lot.taken_credits += part
            missing -= part
    owed = 0
    if not command.owe:
        _take_once_let_go(page, lots, missing)
    else:
        for lot in reversed(lots):
            part = min(lot.spent_credits + lot.held_credits - lot.owed_credits, missing)
            if part > 0:
                lot.owed_credits += part
                page.touched[lot.lot_id] = lot
                owed += part
                missing -= part
    page.wallet.debt_credits += owed
    _write_purchase_row(page, command, tuple(entries), terms)


def _take_once_let_go(page: Page, lots: Sequence[Lot], credits: int) -> None:
    """Note of a subscription's lots that what is held of them is taken when its hold lets it go."""
    for lot in reversed(lots):
        part = min(lot.uncalled_credits, credits)
        if part > 0:
            lot.owed_credits += part
            page.touched[lot.lot_id] = lot
            credits -= part


def give_back(page: Page, command: c.GiveBack, terms: Terms) -> None:
    lots = page.purchase_lots(command.purchase_id)
    if not lots:
        raise NotFound("purchase")
    # From here it must succeed.
    missing = command.credits
    for lot in lots:
        most = missing if lot.is_of_subscription else min(page.wallet.debt_credits, missing)
        part = min(lot.owed_credits, most)
        if part > 0:
            lot.owed_credits -= part
            page.touched[lot.lot_id] = lot
            page.wallet.debt_credits -= 0 if lot.is_of_subscription else part
            missing -= part
    parts = []
    for lot in lots:
        taken = 0 if command.only_owed else min(lot.taken_credits, missing)
        repaid = min(lot.owed_credits, missing - taken)
        lot.taken_credits -= taken
        lot.owed_credits -= repaid
        page.touched[lot.lot_id] = lot
        parts.append((lot, taken + repaid))
        missing -= taken + repaid
    entries = _apart(page, parts, terms) if command.only_owed else _restore(page, parts, terms)
    _write_purchase_row(page, command, entries, terms)


def _reversed_draws(spent: Transaction, undone: Mapping[str, int], credits: int) -> list[Draw]:
    """The draws of a debit that are undone next, last drawn first; what was undone before is passed over."""
    passed = sum(undone.values())
    parts = []
    for each in reversed(spent.draws()):
        over = min(each.credits, passed)
        part = min(each.credits - over, credits)
        passed -= over
        credits -= part
        if part > 0:
            parts.append(Draw(each.lot_id, each.bucket, part))
    return parts


def _restore(page: Page, parts: Sequence[tuple[Lot, int]], terms: Terms) -> tuple[Entry, ...]:
    """Give credits back to the lots they left. Each lot takes back what left it and no more.

    More comes where the money of a spent lot was taken back, other credits paid that debt, and now both the money
    is given back and the spend is reversed. The rest then stands apart.
    """
    entries = []
    over = []
    for lot, credits in parts:
        fits = min(credits, lot.spent_credits)
        if fits > 0:
            entries.append(page.move(lot, fits))
        over.append((lot, credits - fits))
    return (*entries, *_apart(page, over, terms))


def _apart(page: Page, parts: Sequence[tuple[Lot, int]], terms: Terms) -> tuple[Entry, ...]:
    """Put credits into a lot of its own, which ends as these do (the last to be spent of them).

    It belongs to no purchase: other credits, which had paid a debt, are in it.
    """
    found = [(lot, credits) for lot, credits in parts if credits > 0]
    if not found:
        return ()
    like = max((lot for lot, _ in found), key=spend_order)
    credits = sum(credits for _, credits in found)
    lot = Lot(
        lot_id=terms.mint("lot", page.at),
        granted_seq=page.wallet.seq + 1,
        bucket=like.bucket,
        source=like.source,
        expires_at=like.expires_at,
        granted_credits=credits,
        remaining_credits=0,
        granted_at=page.at,
    )
    page.lots[lot.lot_id] = lot
    page.new_lots.append(lot)
    return (page.move(lot, credits),)


def _write_purchase_row(page: Page, command: c.TakeBack | c.GiveBack, entries: tuple[Entry, ...], terms: Terms) -> None:
    write(
        page,
        terms,
        command.actor,
        type=command.type,
        amount_credits=sum(e.credits for e in entries),
        entries=entries,
        description=command.description,
        reference_type=command.reference_type,
        reference_id=command.reference_id,
        purchase_id=command.purchase_id,
        metadata=command.metadata,
    )
