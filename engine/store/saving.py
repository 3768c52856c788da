"""Writing the pages of a batch (`engine/store/books.py` reads them): a few statements, however many commands."""

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

from engine.rules.alerts import next_warning
from engine.rules.ledger import FrontLot, Page, Wallet, pages_in_order
from engine.rules.lots import BUCKETS, Lot
from engine.store.bulk import AskMark, Row, insert_rows, update_marked, update_rows
from engine.store.holds import save_holds
from engine.store.key_uses import save_key_uses
from engine.store.messages import save_messages
from engine.store.pens import AnySession
from engine.store.triggers import asked_recharges
from engine.store.usage import save_usage
from engine.store.values import (
    LOT,
    LOT_RARE,
    TRANSACTION,
    WALLET_RARE,
    front_value,
    lot_rare,
    lot_row,
    transaction_row,
    uses_values,
    wallet_rare,
)

WALLET_MOVES = (
    "seq",
    "head",
    *(f"available_{bucket}" for bucket in BUCKETS),
    "last_at",
    "spent_on",
    "spent_credits",
    "used_credits",
    "uses",
    "front_lot",
)
LOT_MOVES = ("remaining_credits",)
"""What every command moves."""
RARE = (
    *("source", "reference_id", "reverses_id", "purchase_id", "provider_id", "provider_name"),
    *("capability_id", "outcome", "call_id", "api_key_id"),
)
PLAIN = tuple(name for name in TRANSACTION if name not in RARE)
NOTHING_RARE = (None,) * len(RARE)
_rare_values = itemgetter(*map(TRANSACTION.index, RARE))
_plain_values = itemgetter(*map(TRANSACTION.index, PLAIN))


def save(session: AnySession, pages: Iterable[Page], marks: Mapping[str, str] | None = None) -> AskMark | None:
    """Write what the batch changed: one row a wallet, one a transaction, one a lot that its wallet does not carry.

    The wallets come first: with `marks`, by account id, that locks them (`update_marked`).
    """
    changed = [page for page in pages_in_order(pages) if page.is_changed]
    fronts = [_carry_front(page) for page in changed]
    recharges = asked_recharges(changed)
    mark = _save_wallets(session, changed, marks)
    save_usage(session, changed)
    _save_lots(session, changed, fronts)
    _save_rows(session, [transaction_row(row) for page in changed for row in page.written])
    save_holds(session, changed)
    save_key_uses(session, changed)
    save_messages(session, changed, recharges)
    return mark


def _save_rows(session: AnySession, written: Sequence[Row]) -> None:
    """Write ledger rows. Plain ones, as most spends are, name only what stands in them."""
    plain = [_plain_values(row) for row in written if _rare_values(row) == NOTHING_RARE]
    insert_rows(session, "transactions", PLAIN, plain)
    if len(plain) < len(written):
        insert_rows(session, "transactions", TRANSACTION, [row for row in written if _rare_values(row) != NOTHING_RARE])


def _save_wallets(session: AnySession, changed: Sequence[Page], marks: Mapping[str, str] | None) -> AskMark | None:
    rows = [(_wallet_moves(page.wallet), wallet_rare(page.wallet)) for page in changed]
    is_plain = [page.stored.get(page.wallet.account_id) == rare for page, (_, rare) in zip(changed, rows, strict=True)]
    every = WALLET_MOVES + WALLET_RARE
    if marks and all(is_plain):
        return update_marked(session, "wallets", "account_id", WALLET_MOVES, [moves for moves, _ in rows], marks)
    if marks:  # in one statement, which locks them in order
        return update_marked(session, "wallets", "account_id", every, [moves + rare for moves, rare in rows], marks)
    moved = [moves for (moves, _), is_so in zip(rows, is_plain, strict=True) if is_so]
    others = [moves + rare for (moves, rare), is_so in zip(rows, is_plain, strict=True) if not is_so]
    update_rows(session, "wallets", ("account_id",), WALLET_MOVES, moved)
    update_rows(session, "wallets", ("account_id",), every, others)
    return None


def _wallet_moves(wallet: Wallet) -> Row:
    moves = (wallet.account_id, wallet.seq, wallet.head, *wallet.available)
    moves += (wallet.last_at, wallet.spent_on, wallet.spent_credits, *uses_values(wallet.uses))
    return (*moves, front_value(wallet.front))


def _save_lots(session: AnySession, changed: Sequence[Page], fronts: Sequence[Lot | None]) -> None:
    new: list[Row] = []
    moved: list[Row] = []
    rare: list[Row] = []
    for page, front in zip(changed, fronts, strict=True):
        account_id = page.wallet.account_id
        for lot in page.new_lots:
            page.touched.pop(lot.lot_id, None)
            warn_at = next_warning(lot.expires_at, lot.granted_at)
            new.append((*lot_row(account_id, lot), BUCKETS.index(lot.bucket), lot.remaining_credits > 0, warn_at))
        for lot in page.touched.values():
            others = lot_rare(lot)
            if page.stored[lot.lot_id][1:] != others:
                rare.append((account_id, lot.lot_id, lot.remaining_credits, *others))
            elif lot is not front:
                moved.append((account_id, lot.lot_id, lot.remaining_credits))
    insert_rows(session, "lots", (*LOT, "bucket_order", "is_open", "warn_at"), new)
    update_rows(session, "lots", ("account_id", "lot_id"), LOT_MOVES, moved)
    update_rows(session, "lots", ("account_id", "lot_id"), LOT_MOVES + LOT_RARE, rare)


def _carry_front(page: Page) -> Lot | None:
    """Let the wallet carry the lot that is first now; what it carries no longer goes to the lot's own row."""
    carried, front = page.wallet.front, page.front_lot()
    if carried is not None and carried.lot is not front:
        page.touched[carried.lot.lot_id] = carried.lot
    if front is None:
        page.wallet.front = None
        return None
    stored: Row = page.stored.get(front.lot_id, ())
    is_kept = stored[1:] == lot_rare(front)
    page.wallet.front = FrontLot(stored[0] if is_kept else front.remaining_credits, front)
    return front
