"""What each command does to a wallet: guards in order of precedence, then effects that must succeed.

`decide_all` is a pure function of the loaded pages, the commands and the terms: it changes only the pages it is
given (which the store saves) and makes no other effect. A refusal is a value: it changes nothing but what time
had changed anyway (holds and lots past their end leave first), and it never stops the command after it.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import force_setattr

from engine.rules import alerts, outgoing
from engine.rules import commands as c
from engine.rules import hold_decisions as holds
from engine.rules import status_decisions as status
from engine.rules import undo_decisions as undo
from engine.rules.descriptions import describe
from engine.rules.errors import (
    IdempotencyMismatch,
    Invalid,
    LimitReached,
    NotFound,
    Refusal,
    WalletNotActive,
)
from engine.rules.ledger import Page, chain_hash
from engine.rules.lots import BUCKET_NAMES, NEVER, Lot, draw
from engine.rules.money import CREDITS_MAX
from engine.rules.rows import Terms, count_spent, write
from engine.rules.usage import carry_uses

__all__ = ["Terms", "decide", "decide_all"]


def decide_all(pages: Mapping[str, Page], commands: Sequence[c.Command], terms: Terms) -> list[c.Outcome]:
    """Decide each command in order on its wallet's page; outcomes stand in the same order."""
    outcomes = [decide(pages.get(command.account_id), command, terms) for command in commands]
    for page in pages.values():
        page.past_uses = carry_uses(page)
        seal(page, terms.chain_key)
        outgoing.tell(page, terms.wanted.events)
    return outcomes


def decide(page: Page | None, command: c.Command, terms: Terms) -> c.Outcome:
    """One command on one page: the earlier answer, a refusal, or what was posted.

    What time did before it is looked at by itself, but for a month's credits: they follow on those that expired.
    """
    if page is None:
        return NotFound("account")
    if not page.wallet.is_due(page.at):
        return _decided(page, command, terms)
    before = page.wallet.available_credits
    settle(page, terms)
    if c.begins_month(command):
        outcome = _decided(page, command, terms)
        alerts.watch_balance(page, before)
        return outcome
    alerts.watch_balance(page, before)
    return _decided(page, command, terms)


def _decided(page: Page, command: c.Command, terms: Terms) -> c.Outcome:
    """The command on a page that is settled."""
    if command.key is not None:
        earlier = page.answered.get((command.operation, command.key))
        if earlier is not None:
            if earlier[0].fingerprint != c.fingerprint(command):
                return IdempotencyMismatch()
            return c.Posted(earlier, replayed=True)
    if isinstance(command, c.Grant) and command.campaign in page.campaigns:
        return c.Posted((page.campaigns[command.campaign],), replayed=True)
    start, before = len(page.written), page.wallet.available_credits
    try:
        planned = _carry_out(page, command, terms)
    except Refusal as refusal:
        assert len(page.written) == start, "a refusal comes before any effect"
        if isinstance(refusal, LimitReached) and not (isinstance(command, c.Spend) and command.dry_run):
            alerts.meet_limit(page, refusal)
        return refusal
    if planned is not None:
        return planned
    settle_expiry(page, terms)
    pay_debt(page, command.actor, terms)
    if page.wallet.status == "closed":
        status.forfeit(page, command.actor, terms)
    alerts.watch_balance(page, before)
    if page.wallet.daily_limit_credits is not None:
        alerts.watch_limit(page)
    return _close(page, command, start)


def _carry_out(page: Page, command: c.Command, terms: Terms) -> c.Planned | None:
    match command:
        case c.Spend():
            return spend(page, command, terms)
        case c.Grant():
            grant(page, command, terms)
        case c.Reverse():
            undo.reverse(page, command, terms)
        case c.TakeBack():
            undo.take_back(page, command, terms)
        case c.GiveBack():
            undo.give_back(page, command, terms)
        case c.Hold():
            holds.hold(page, command, terms)
        case c.Capture():
            holds.capture(page, command, terms)
        case c.Void():
            holds.void(page, command, terms)
        case c.Extend():
            holds.extend(page, command, terms)
        case c.AdminDebit():
            status.admin_debit(page, command, terms)
        case c.SetStatus():
            status.set_status(page, command)
        case c.Expire():
            pass
    return None


def settle(page: Page, terms: Terms) -> None:
    """What time has done since the last command: holds that are over are released, expired lots leave, debt is paid."""
    is_released = holds.release_due(page, terms)
    settle_expiry(page, terms)
    if is_released:
        pay_debt(page, "system", terms)


def spend(page: Page, command: c.Spend, terms: Terms) -> c.Planned | None:
    wallet = page.wallet
    if command.credits < 1:
        raise Invalid("amountCredits", "A spend is at least one credit.")
    holds.check_may_draw(page, command.credits, command.api_key_id)
    draws = draw(page.order, command.credits)
    if command.dry_run:
        return c.Planned(draws, wallet.available_credits - command.credits)
    # From here the spend must succeed.
    entries = tuple([page.move(page.lots[d.lot_id], -d.credits) for d in draws])
    row = write(
        page,
        terms,
        command.actor,
        type="debit",
        amount_credits=-command.credits,
        entries=entries,
        description=command.description,
        reference_type="spend",
        reference_id=command.call_id,
        provider_id=command.provider_id,
        provider_name=command.provider_name,
        capability_id=command.capability_id,
        outcome=command.outcome,
        call_id=command.call_id,
        api_key_id=command.api_key_id,
        metadata=command.metadata,
    )
    page.debits[row.transaction_id] = row
    count_spent(page, command.credits, row.created_at, command.api_key_id)
    return None


def grant(page: Page, command: c.Grant, terms: Terms) -> None:
    wallet = page.wallet
    if wallet.status == "closed":
        raise WalletNotActive(wallet.status)
    if not 0 < command.credits <= CREDITS_MAX:
        raise Invalid("amountCredits", f"A grant is between 1 and {CREDITS_MAX} credits.")
    if wallet.available_credits + sum(wallet.held) + command.credits > CREDITS_MAX:
        raise Invalid("amountCredits", f"A wallet holds at most {CREDITS_MAX} credits.")
    expires_at = command.expires_at or NEVER
    if expires_at <= page.at:
        raise Invalid("expiresAt", "The expiry must lie in the future.")
    # From here the grant must succeed.
    lot = Lot(
        lot_id=terms.mint("lot", page.at),
        granted_seq=wallet.seq + 1,
        bucket=command.bucket,
        source=command.source,
        expires_at=expires_at,
        granted_credits=command.credits,
        remaining_credits=0,
        purchase_id=command.purchase_id,
        cost_minor=command.cost_minor,
        cost_currency=command.cost_currency,
        granted_at=page.at,
    )
    page.lots[lot.lot_id] = lot
    page.new_lots.append(lot)
    row = write(
        page,
        terms,
        command.actor,
        type=command.type,
        amount_credits=command.credits,
        entries=(page.move(lot, command.credits),),
        source=command.source,
        description=command.description,
        reference_type=command.reference_type,
        reference_id=command.reference_id,
        purchase_id=command.purchase_id,
        metadata=command.metadata,
    )
    if command.campaign is not None:
        page.campaigns[command.campaign] = row


def settle_expiry(page: Page, terms: Terms) -> None:
    """Let what is past its expiry leave, one row a lot, in spend order; nothing if nothing is due."""
    if page.wallet.next_expiry_at > page.at:
        return
    due = [lot for lot in page.order if lot.expires_at <= page.at and lot.remaining_credits > 0]
    page.order = [lot for lot in page.order if lot.expires_at > page.at]
    live = (lot.expires_at for lot in page.order if lot.remaining_credits > 0)
    page.wallet.next_expiry_at = min(page.later_expiry, min(live, default=NEVER))
    page.is_changed = True
    for lot in due:
        left = lot.remaining_credits
        lot.expired_credits += left
        write(
            page,
            terms,
            "system",
            type="expiry",
            amount_credits=-left,
            entries=(page.move(lot, -left),),
            source=lot.source,
            description=describe(terms.descriptions.expiry, bucket=BUCKET_NAMES[lot.bucket]),
            purchase_id=lot.purchase_id,
        )


def pay_debt(page: Page, actor: str, terms: Terms) -> None:
    """Debt is paid first, in spend order, from whatever is available; only the rest stays."""
    wallet = page.wallet
    payment = min(wallet.debt_credits, wallet.available_credits) if wallet.debt_credits else 0
    if payment == 0:
        return
    draws = draw(page.order, payment)
    wallet.debt_credits -= payment
    write(
        page,
        terms,
        actor,
        type="debt_repayment",
        amount_credits=-payment,
        entries=tuple(page.move(page.lots[d.lot_id], -d.credits) for d in draws),
        description=terms.descriptions.debt_repayment,
    )


def _close(page: Page, command: c.Command, start: int) -> c.Posted:
    """Note the key on the command's first row, so that the same request is answered by the same rows for good."""
    rows = tuple(page.written[start:])
    if command.key is not None and rows:
        force_setattr(rows[0], "operation", command.operation)
        force_setattr(rows[0], "idempotency_key", command.key)
        force_setattr(rows[0], "fingerprint", c.fingerprint(command))
        force_setattr(rows[0], "command_rows", len(rows))
        page.answered[(command.operation, command.key)] = rows
    return c.Posted(rows)


def seal(page: Page, chain_key: bytes) -> None:
    """Put the rows the batch wrote on the wallet's chain, in order; nobody has seen them before this."""
    for row in page.written:
        force_setattr(row, "hash", chain_hash(chain_key, page.wallet.head, row))
        page.wallet.head = row.hash
