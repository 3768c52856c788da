"""What an administrator does to a wallet: corrections downwards, suspending, resuming, closing."""

from engine.rules import commands as c
from engine.rules.errors import InsufficientCredits, Invalid, WalletNotActive
from engine.rules.ledger import Page
from engine.rules.lots import BUCKETS, NEVER, draw
from engine.rules.rows import Terms, write


def admin_debit(page: Page, command: c.AdminDebit, terms: Terms) -> None:
    wallet = page.wallet
    if wallet.status == "closed":
        raise WalletNotActive(wallet.status)
    if command.credits < 1:
        raise Invalid("amountCredits", "A debit is at least one credit.")
    order, available = page.order, wallet.available_credits
    if command.bucket is not None:
        order = [lot for lot in page.order if lot.bucket == command.bucket]
        available = wallet.available[BUCKETS.index(command.bucket)]
    if command.credits > available:
        raise InsufficientCredits(command.credits, available)
    # From here the debit must succeed.
    draws = draw(order, command.credits)
    write(
        page,
        terms,
        command.actor,
        type="admin_debit",
        amount_credits=-command.credits,
        entries=tuple(page.move(page.lots[d.lot_id], -d.credits) for d in draws),
        source="admin",
        description=command.description,
        reference_type="admin",
        metadata=command.metadata,
    )


def set_status(page: Page, command: c.SetStatus) -> None:
    wallet = page.wallet
    if wallet.status == "closed":
        raise WalletNotActive(wallet.status)
    assert command.status != "closed" or sum(wallet.held) == 0, "open holds are voided before a wallet is closed"
    # From here it must succeed; what a closed wallet still has is forfeited at the end of the command.
    wallet.status = command.status
    page.is_changed = True


def forfeit(page: Page, actor: str, terms: Terms) -> None:
    """A closed wallet keeps nothing: what is left, or comes back, leaves it, one row a lot, in spend order."""
    for lot in [lot for lot in page.order if lot.remaining_credits > 0]:
        left = lot.remaining_credits
        lot.expired_credits += left
        write(
            page,
            terms,
            actor,
            type="forfeit",
            amount_credits=-left,
            entries=(page.move(lot, -left),),
            source=lot.source,
            description=terms.descriptions.forfeit,
            purchase_id=lot.purchase_id,
        )
    if page.wallet.available_credits == 0:
        page.order = []
        page.wallet.next_expiry_at = NEVER
