"""What each command does to a hold: guards in order of precedence, then effects that must succeed.

Reserving moves credits from what remains of a lot to what is held of it; releasing moves them back to that very
lot, even one that has expired since (whatever stays there leaves when the command is settled). A capture is the
release of the whole hold and the debit of what was captured, so that the rows alone tell what became of every lot.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

import msgspec

from engine.rules import commands as c
from engine.rules.errors import (
    HoldEnded,
    HoldExpired,
    HoldTooSmall,
    InsufficientCredits,
    Invalid,
    NotFound,
    WalletInDebt,
    WalletNotActive,
)
from engine.rules.holds import Hold, HoldStatus, Part, by_lot, counted_on, due_order, taken
from engine.rules.ledger import Entry, Page, Transaction
from engine.rules.limits import check_limits
from engine.rules.lots import NEVER, draw, is_live
from engine.rules.rows import Terms, count_spent, write


def hold(page: Page, command: c.Hold, terms: Terms) -> None:
    if command.credits < 1:
        raise Invalid("amountCredits", "A hold is at least one credit.")
    ttl_seconds = terms.holds.ttl_default_seconds if command.ttl_seconds is None else command.ttl_seconds
    expires_at = _ending(page, ttl_seconds, terms)
    check_may_draw(page, command.credits, command.api_key_id)
    # From here the hold must succeed.
    made = Hold(
        hold_id=terms.mint("hold", page.at),
        status="open",
        parts=(),
        captured_credits=0,
        counted_credits=0,
        ttl_seconds=ttl_seconds,
        expires_at=expires_at,
        description=command.description,
        provider_id=command.provider_id,
        provider_name=command.provider_name,
        capability_id=command.capability_id,
        call_id=command.call_id,
        metadata=command.metadata,
        actor=command.actor,
        created_at=page.at,
        api_key_id=command.api_key_id,
    )
    page.holds[made.hold_id] = made
    page.new_holds.append(made)
    _reserve(page, made, command.credits, command.actor, command.metadata, terms)


def extend(page: Page, command: c.Extend, terms: Terms) -> None:
    held = _open_hold(page, command.hold_id)
    if page.wallet.status != "active":
        raise WalletNotActive(page.wallet.status)
    if command.credits < 0 or (command.credits == 0 and command.ttl_seconds is None):
        raise Invalid("amountCredits", "An extension adds at least one credit, or time.")
    expires_at = held.expires_at
    if command.ttl_seconds is not None:
        expires_at = max(expires_at, _ending(page, command.ttl_seconds, terms))
    if command.credits > 0:
        check_may_draw(page, command.credits, held.api_key_id)
    # From here the extension must succeed.
    held.expires_at = expires_at
    told = {"amountCredits": str(held.credits + command.credits), "expiresAt": expires_at}
    _reserve(page, held, command.credits, command.actor, msgspec.json.encode(told).decode(), terms)


def void(page: Page, command: c.Void, terms: Terms) -> None:
    held = _open_hold(page, command.hold_id)
    # From here it must succeed.
    _release(page, held, command.actor, terms)
    _take_called_back(page, held, command.actor, terms)
    _give_room(page, held)
    _end(page, held, "voided")


def capture(page: Page, command: c.Capture, terms: Terms) -> None:
    wallet = page.wallet
    if command.credits < 0:
        raise Invalid("amountCredits", "A capture takes no less than nothing.")
    held = _open_hold(page, command.hold_id)
    excess = max(0, command.credits - held.credits)
    if excess > 0:
        if terms.holds.overage == "refuse":
            raise HoldTooSmall(command.credits, held.credits)
        if wallet.status != "active":
            raise WalletNotActive(wallet.status)
        if excess > wallet.available_credits:
            raise InsufficientCredits(command.credits, held.credits + wallet.available_credits)
    # From here the capture must succeed.
    parts = taken(held.parts, command.credits)
    _release(page, held, command.actor, terms)
    if command.credits > 0:
        _debit(page, held, parts, excess, command.actor, terms)
    _take_called_back(page, held, command.actor, terms)
    today = page.at.date()
    kept = counted_on(today, parts)
    count_spent(page, kept + excess - counted_on(today, held.parts), page.at, held.api_key_id)
    held.captured_credits = command.credits
    held.counted_credits = kept + excess
    _end(page, held, "captured" if command.credits > 0 else "voided")


def release_due(page: Page, terms: Terms) -> bool:
    """Release the holds that are past their end, the first to end first; whether there were any."""
    if page.wallet.next_hold_expiry_at > page.at:
        return False
    ongoing = [each for each in page.holds.values() if each.status == "open"]
    due = sorted((each for each in ongoing if each.expires_at <= page.at), key=due_order)
    live = (each.expires_at for each in ongoing if each.expires_at > page.at)
    page.wallet.next_hold_expiry_at = min(page.later_hold_expiry, min(live, default=NEVER))
    page.is_changed = True
    for each in due:
        _release(page, each, "system", terms)
        _take_called_back(page, each, "system", terms)
        _give_room(page, each)
        _end(page, each, "expired")
    return bool(due)


def check_may_draw(page: Page, credits: int, api_key_id: str | None) -> None:
    """What refuses a spend, a hold and more of a hold, in order: the key, status, debt, limits, too few credits."""
    wallet = page.wallet
    key = None if api_key_id is None else page.keys.get(api_key_id)
    if api_key_id is not None and (key is None or key.is_revoked):
        raise NotFound("API key")
    if wallet.status != "active":
        raise WalletNotActive(wallet.status)
    if wallet.debt_credits > 0:
        raise WalletInDebt(wallet.debt_credits)
    check_limits(wallet, key, credits, page.at.date())
    if credits > wallet.available_credits:
        raise InsufficientCredits(credits, wallet.available_credits)


def room_given_back(page: Page, spent: Transaction, before: int, credits: int) -> int:
    """How much room a reversal of `credits` gives back on the day of its debit, `before` having been reversed.

    A captured debit counts on the days its hold was made and extended; what counted on the day of the capture is
    the last of what it drew, and so the first to be reversed.
    """
    if spent.created_at.date() != page.at.date():
        return 0
    held = page.holds.get(spent.reference_id or "") if spent.reference_type == "hold" else None
    counted = -spent.amount_credits if held is None else held.counted_credits
    return min(before + credits, counted) - min(before, counted)


def _ending(page: Page, ttl_seconds: int, terms: Terms) -> datetime:
    if not 1 <= ttl_seconds <= terms.holds.ttl_max_seconds:
        raise Invalid("expiresInSeconds", f"A hold lasts 1 to {terms.holds.ttl_max_seconds} seconds.")
    return page.at + timedelta(seconds=ttl_seconds)


def _open_hold(page: Page, hold_id: str) -> Hold:
    """The open hold of that id, or the refusal that says why there is none."""
    if page.wallet.status == "closed":
        raise WalletNotActive(page.wallet.status)
    held = page.holds.get(hold_id)
    if held is None:
        raise NotFound("hold")
    if held.status == "expired":
        raise HoldExpired
    if held.status != "open":
        raise HoldEnded(held.status)
    return held


def _reserve(page: Page, held: Hold, credits: int, actor: str, metadata: str, terms: Terms) -> None:
    """Pin `credits` of the next lots in spend order (or none, when only time is added), and write the row."""
    draws = draw(page.order, credits)
    for each in draws:
        page.pin(page.lots[each.lot_id], each.credits)
    today = page.at.date()
    held.parts += tuple(Part(each.lot_id, each.bucket, each.credits, today) for each in draws)
    page.touched_holds[held.hold_id] = held
    page.wallet.next_hold_expiry_at = min(page.wallet.next_hold_expiry_at, held.expires_at)
    write(
        page,
        terms,
        actor,
        type="hold",
        amount_credits=-credits,
        entries=tuple(page.move(page.lots[each.lot_id], -each.credits) for each in draws),
        description=held.description or terms.descriptions.hold,
        reference_type="hold",
        reference_id=held.hold_id,
        provider_id=held.provider_id,
        provider_name=held.provider_name,
        capability_id=held.capability_id,
        call_id=held.call_id,
        api_key_id=held.api_key_id,
        metadata=metadata,
    )
    count_spent(page, credits, page.at, held.api_key_id)


def _release(page: Page, held: Hold, actor: str, terms: Terms) -> None:
    """Give the whole hold back to the very lots, last held first."""
    draws = by_lot(tuple(reversed(held.parts)))
    for each in draws:
        page.pin(page.lots[each.lot_id], -each.credits)
    write(
        page,
        terms,
        actor,
        type="hold_release",
        amount_credits=held.credits,
        entries=tuple(page.move(page.lots[each.lot_id], each.credits) for each in draws),
        description=terms.descriptions.hold_release,
        reference_type="hold",
        reference_id=held.hold_id,
        call_id=held.call_id,
        api_key_id=held.api_key_id,
    )


def _take_called_back(page: Page, held: Hold, actor: str, terms: Terms) -> None:
    """Take what a hold lets go of a subscription's payment that went back; what was captured of it is spent."""
    for each in by_lot(held.parts):
        lot = page.lots[each.lot_id]
        over = lot.owed_credits - lot.held_credits
        if over <= 0 or not lot.is_of_subscription:
            continue
        lot.owed_credits -= over
        part = min(over, lot.remaining_credits)
        lot.taken_credits += part
        entry = page.move(lot, -part)
        if part > 0:
            write(
                page,
                terms,
                actor,
                type="refund",
                amount_credits=-part,
                entries=(entry,),
                description=terms.descriptions.debt_repayment,
                purchase_id=lot.purchase_id,
            )


def _debit(page: Page, held: Hold, parts: Sequence[Part], excess: int, actor: str, terms: Terms) -> None:
    """Take what is captured from the lots that were held, in order, and the excess in spend order."""
    for part in parts:
        page.move(page.lots[part.lot_id], -part.credits)
    more = draw([lot for lot in page.order if is_live(lot, page.at)], excess)
    for each in more:
        page.move(page.lots[each.lot_id], -each.credits)
    entries = tuple(Entry(each.lot_id, each.bucket, -each.credits) for each in by_lot((*parts, *more)))
    row = write(
        page,
        terms,
        actor,
        type="debit",
        amount_credits=sum(entry.credits for entry in entries),
        entries=entries,
        description=held.description or terms.descriptions.debit,
        reference_type="hold",
        reference_id=held.hold_id,
        provider_id=held.provider_id,
        provider_name=held.provider_name,
        capability_id=held.capability_id,
        call_id=held.call_id,
        api_key_id=held.api_key_id,
        metadata=held.metadata,
    )
    page.debits[row.transaction_id] = row


def _give_room(page: Page, held: Hold) -> None:
    """What was held today and comes back makes room on today's limits again."""
    count_spent(page, -counted_on(page.at.date(), held.parts), page.at, held.api_key_id)


def _end(page: Page, held: Hold, status: HoldStatus) -> None:
    held.status = status
    held.ended_at = page.at
    page.touched_holds[held.hold_id] = held
