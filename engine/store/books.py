"""Loading the pages of a batch: a few statements, however many commands (`engine/store/saving.py` writes them).

`load` locks the wallets in id order in one statement and reads everything else in the next ones, so what it reads is
what the lock protects. A page gets the lots its commands can reach and no more: 100,000 lots cost what ten cost.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from engine.rules.commands import Command, Grant, Spend, reach
from engine.rules.errors import NotFound, WalletNotActive
from engine.rules.ledger import Page, Wallet, seq_in
from engine.rules.lots import Lot, spend_order
from engine.store.bulk import Row, Rows, ask_first, ask_rows, select_rows
from engine.store.holds import add_due, add_holds, ask_holds, pinned
from engine.store.key_uses import add_keys
from engine.store.pens import AnySession
from engine.store.values import LOT as LOT
from engine.store.values import TRANSACTION as TRANSACTION
from engine.store.values import WALLET as WALLET
from engine.store.values import lot_of as lot_of
from engine.store.values import lot_rare, stored_lot, stored_wallet, wallet_rare
from engine.store.values import lot_row as lot_row
from engine.store.values import new_wallet_row as new_wallet_row
from engine.store.values import transaction_of as transaction_of
from engine.store.values import transaction_row as transaction_row
from engine.store.values import wallet_of as wallet_of

ORDER = "bucket_order, expires_at, granted_seq"
IS_CAMPAIGN = "reference_type = 'campaign'"
FIRST_LOTS = 8


@dataclass(slots=True)
class _Wanted:
    """What the commands of a batch name, each once; rows are the keys to look for.

    `demand` has the credits of each command that draws, `gaining` the wallets that other commands may add to.
    """

    demand: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    gaining: set[str] = field(default_factory=set)
    purchases: set[Row] = field(default_factory=set)
    debits: set[Row] = field(default_factory=set)
    keys: set[Row] = field(default_factory=set)
    campaigns: set[Row] = field(default_factory=set)
    holds: set[Row] = field(default_factory=set)
    api_keys: set[Row] = field(default_factory=set)


def _wanted_by(commands: Sequence[Command]) -> _Wanted:
    wanted = _Wanted()
    for command in commands:
        account_id = command.account_id
        needs = reach(command)
        wanted.demand[account_id].append(needs.open_credits)
        if not isinstance(command, Spend):
            wanted.gaining.add(account_id)
        if needs.purchase_id is not None:
            wanted.purchases.add((account_id, needs.purchase_id))
        if needs.transaction_id is not None:
            wanted.debits.add((account_id, needs.transaction_id))
        if needs.hold_id is not None:
            wanted.holds.add((account_id, needs.hold_id))
        if needs.api_key_id is not None:
            wanted.api_keys.add((account_id, needs.api_key_id))
        if command.key is not None:
            wanted.keys.add((account_id, command.operation, command.key))
        if isinstance(command, Grant) and command.campaign is not None:
            wanted.campaigns.add((account_id, command.campaign))
    return wanted


def load(session: AnySession, commands: Sequence[Command], now: datetime) -> dict[str, Page]:
    """Lock the wallets the commands name and load a page for each that exists, by account id.

    The lock is asked for first; what comes after are statements of their own, so they see what it protects, even
    when all of them travel together.
    """
    wanted = _wanted_by(commands)
    wanting = [account_id for account_id, credits in wanted.demand.items() if max(credits) > 0]
    surely = [account_id for account_id in wanting if account_id in wanted.gaining]
    wallets = _ask_wallets(session, wanted.demand)
    answers = _ask_transactions(session, ("account_id", "operation", "idempotency_key"), wanted.keys)
    campaigns = _ask_transactions(session, ("account_id", "reference_id"), wanted.campaigns, IS_CAMPAIGN)
    debits = ask_by_id(session, wanted.debits)
    reversals = _ask_transactions(session, ("account_id", "reverses_id"), wanted.debits)
    bought = ask_rows(session, "lots", LOT, ("account_id", "purchase_id"), list(wanted.purchases))
    held = ask_holds(session, wanted.holds)
    first = _ask_open(session, surely, [now] * len(surely), FIRST_LOTS)
    pages = _pages_of(wallets(), now)
    _add_answers(session, pages, answers())
    _add_campaigns(pages, campaigns())
    _add_debits(session, pages, debits(), reversals())
    _add_lots(pages, bought())
    add_holds(pages, held())
    add_due(session, pages)
    add_keys(session, pages, wanted.api_keys)
    _add_lots(pages, select_rows(session, "lots", LOT, ("account_id", "lot_id"), pinned(pages)))
    demand = {account_id: _reachable(wanted, page) for account_id, page in pages.items()}
    others = [a for a in wanting if a not in wanted.gaining and a in pages and not has_enough(pages[a], demand[a])]
    _add_open(session, pages, demand, first() + _ask_open(session, others, [now] * len(others), FIRST_LOTS)())
    _add_due(session, pages)
    for page in pages.values():
        page.order = [lot for lot in page.lots.values() if lot.remaining_credits > 0]
        if len(page.order) > 1:
            page.order.sort(key=spend_order)
    for account_id in (*surely, *others):
        if account_id in pages:
            page = pages[account_id]
            page.front = next((lot for lot in page.order if lot.expires_at > page.at), None)
    return pages


def lock_wallets(session: AnySession, account_ids: Iterable[str], now: datetime) -> dict[str, Page]:
    """Take the wallets' locks in id order, in one statement; every flow does this before it reads anything else."""
    return _pages_of(_ask_wallets(session, account_ids)(), now)


def lock_open(session: AnySession, account_id: str, now: datetime) -> Page:
    """Take one wallet's lock to change what its account has set. `NotFound` without it, `WalletNotActive` if closed."""
    page = lock_wallets(session, [account_id], now).get(account_id)
    if page is None:
        raise NotFound("account")
    if page.wallet.status == "closed":
        raise WalletNotActive(page.wallet.status)
    return page


def _ask_wallets(session: AnySession, account_ids: Iterable[str]) -> Rows:
    return ask_rows(session, "wallets", WALLET, ("account_id",), [(a,) for a in account_ids], lock=True)


def _pages_of(rows: Iterable[Row], now: datetime) -> dict[str, Page]:
    return {row[0]: page_of(wallet_of(row), stored_wallet(row), now) for row in rows}


def page_of(wallet: Wallet, stored: Row | None, now: datetime) -> Page:
    """The page of a wallet, enough for spends that its front lot can pay; `stored` is what its row says.

    Without it the wallet is just as it was saved.
    """
    page = Page(wallet=wallet, at=max(now, wallet.last_at))
    page.stored[wallet.account_id] = stored or wallet_rare(wallet)
    if wallet.front is not None:
        page.front = lot = wallet.front.lot
        page.lots[lot.lot_id] = lot
        page.order = [lot]
        page.stored[lot.lot_id] = (wallet.front.row_credits, *lot_rare(lot))
    return page


def _ask_transactions(session: AnySession, keys: tuple[str, ...], wanted: set[Row], where: str = "") -> Rows:
    return ask_rows(session, "transactions", TRANSACTION, keys, list(wanted), where=where)


def ask_by_id(session: AnySession, wanted: Iterable[Row]) -> Rows:
    """The rows that stand where accounts' transaction ids say: whether one is the row of that id is for the caller."""
    places = {(account_id, seq_in(transaction_id)) for account_id, transaction_id in wanted}
    return _ask_transactions(session, ("account_id", "seq"), {place for place in places if place[1] is not None})


def _ask_open(session: AnySession, owners: Sequence[str], after: Sequence[datetime], limit: int) -> Rows:
    """The first open lots of each account that expire after an instant, in spend order."""
    where = "is_open AND expires_at > {0}"
    bounds = [(instant,) for instant in after]
    return ask_first(session, "lots", LOT, owners, where=where, bounds=bounds, order=ORDER, limit=limit)


def _add_lots(pages: dict[str, Page], rows: Iterable[Row]) -> None:
    for row in rows:
        page = pages.get(row[0])
        if page is not None and row[1] not in page.lots:
            lot = lot_of(row)
            page.lots[lot.lot_id] = lot
            page.stored[lot.lot_id] = (lot.remaining_credits, lot.remaining_credits > 0, *stored_lot(row))


def _add_answers(session: AnySession, pages: dict[str, Page], rows: Iterable[Row]) -> None:
    """The rows that answered a key before: its first row says how many follow it."""
    for first in map(transaction_of, rows):
        assert first.operation is not None and first.idempotency_key is not None
        rest: set[Row] = {(first.account_id, first.seq + n) for n in range(1, first.command_rows)}
        more = _ask_transactions(session, ("account_id", "seq"), rest)()
        answer = (first, *sorted(map(transaction_of, more), key=lambda row: row.seq))
        pages[first.account_id].answered[(first.operation, first.idempotency_key)] = answer


def _add_campaigns(pages: dict[str, Page], rows: Iterable[Row]) -> None:
    """The grants that campaign steps made before."""
    for row in map(transaction_of, rows):
        assert row.reference_id is not None
        pages[row.account_id].campaigns[row.reference_id] = row


def _add_debits(session: AnySession, pages: dict[str, Page], spends: Iterable[Row], reversals: Iterable[Row]) -> None:
    """Spends to be reversed, what was reversed of them before, and the lots they drew from."""
    lots: set[Row] = set()
    captured: set[Row] = set()
    for row in map(transaction_of, spends):
        page = pages[row.account_id]
        page.debits[row.transaction_id] = row
        page.reversed[row.transaction_id] = {}
        lots.update((row.account_id, entry.lot_id) for entry in row.entries)
        if row.reference_type == "hold":
            captured.add((row.account_id, row.reference_id))
    for row in map(transaction_of, reversals):
        assert row.reverses_id is not None
        undone = pages[row.account_id].reversed[row.reverses_id]
        for entry in row.entries:
            undone[entry.lot_id] = undone.get(entry.lot_id, 0) + entry.credits
    _add_lots(pages, select_rows(session, "lots", LOT, ("account_id", "lot_id"), list(lots)))
    add_holds(pages, ask_holds(session, captured)())


def _add_open(session: AnySession, pages: dict[str, Page], demand: dict[str, int], rows: list[Row]) -> None:
    """Live lots in spend order until they cover the demand or none is left, a few more each round."""
    limit = FIRST_LOTS
    while rows:
        _add_lots(pages, rows)
        loaded: dict[str, list[Lot]] = defaultdict(list)
        for account_id, lot_id, *_ in rows:
            if account_id in pages:
                loaded[account_id].append(pages[account_id].lots[lot_id])
        short = [
            account_id
            for account_id, lots in loaded.items()
            if len(lots) == limit and _live_credits(lots, pages[account_id].at) < demand[account_id]
        ]
        limit *= 8
        rows = _ask_open(session, short, [pages[account_id].at for account_id in short], limit)()


def _reachable(wanted: _Wanted, page: Page) -> int:
    """What the batch may draw from the wallet as it was: a spend of more than that is refused, and needs no lot.

    A wallet may also gain by the holds that are over.
    """
    account_id, wallet = page.wallet.account_id, page.wallet
    is_gaining = account_id in wanted.gaining or wallet.next_hold_expiry_at <= page.at
    demand = wanted.demand[account_id]
    most = max(demand) if is_gaining else wallet.available_credits
    return sum([credits for credits in demand if credits <= most])


def has_enough(page: Page, demand: int) -> bool:
    """Whether the lot that the wallet carries is all that the batch can draw from."""
    if page.wallet.is_due(page.at):
        return False
    return demand <= (0 if page.front is None else page.front.remaining_credits)


def _live_credits(lots: Iterable[Lot], at: datetime) -> int:
    return sum([lot.remaining_credits for lot in lots if lot.expires_at > at])


def _add_due(session: AnySession, pages: dict[str, Page]) -> None:
    """Lots past their expiry, and when the next one comes after them."""
    due = [page for page in pages.values() if page.wallet.next_expiry_at <= page.at]
    owners = [page.wallet.account_id for page in due]
    bounds: list[Row] = [(page.at,) for page in due]
    where = "is_open AND expires_at <= {0}"
    expired = ask_first(session, "lots", LOT, owners, where=where, bounds=bounds, order=ORDER, limit=1_000_000)
    where = "is_open AND expires_at > {0}"
    columns = ("account_id", "expires_at")
    later = ask_first(session, "lots", columns, owners, where=where, bounds=bounds, order="expires_at", limit=1)
    _add_lots(pages, expired())
    for account_id, expires_at in later():
        pages[account_id].later_expiry = expires_at
