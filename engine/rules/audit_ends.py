"""The end of a wallet's audit: what its rows made, held against the wallet, lots, holds and usage kept beside them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date

import msgspec

from engine.rules.audit import ADDS, CREATED, ENTRIES, Finding, Granted, Kept, Row, WalletCheck
from engine.rules.commands import Grant, fingerprint
from engine.rules.holds import Hold
from engine.rules.ledger import DayUse, Entry, Wallet
from engine.rules.lots import BUCKETS, NEVER, Lot

GIVEN = frozenset({"promo_credit", "coupon_credit", "admin_credit"})
"""Rows whose lots nobody paid for."""

_entries = msgspec.json.Decoder(tuple[Entry, ...])


def end_findings(
    check: WalletCheck,
    wallet: Wallet | None,
    lots: Sequence[Lot],
    uses: Sequence[DayUse],
    key_uses: Mapping[tuple[str, date], int],
    holds: Sequence[tuple[Hold, int]],
) -> list[Finding]:
    """Everything found, the first broken row before the rest. `key_uses` are what counts on each API key and day,
    `holds` the open ones, each with the sum its row keeps."""
    account_id, kept = check.account_id, check.kept
    found = [check.broken] if check.broken is not None else []
    if wallet is None:
        return [*found, Finding(account_id, "rows without a wallet")]
    if not kept.is_readable or kept.last is None:
        return found  # sums over rows that can't be read would accuse what is right
    found += _wallet_findings(account_id, kept, kept.last, wallet, lots, holds)
    found += _lot_findings(account_id, kept, wallet, lots)
    found += _purchase_findings(kept, lots)
    found += _hold_findings(kept, lots, holds)
    return found + _use_findings(account_id, kept, uses) + _key_findings(account_id, kept, key_uses)


def _wallet_findings(
    account_id: str, kept: Kept, last: Row, wallet: Wallet, lots: Sequence[Lot], holds: Sequence[tuple[Hold, int]]
) -> list[Finding]:
    lot_ends = min((lot.expires_at for lot in lots if lot.remaining_credits > 0), default=NEVER)
    hold_ends = min((hold.expires_at for hold, _ in holds), default=NEVER)
    spent = 0 if kept.spent_on is None else wallet.spent_today(kept.spent_on)
    checks = (
        (f"the wallet's seq is {wallet.seq}, the last row's {last[1]}", wallet.seq == last[1]),
        ("the wallet's head is not the last row's hash", wallet.head == last[-1]),
        (f"the wallet owes {wallet.debt_credits}, the last row says {last[6]}", wallet.debt_credits == last[6]),
        ("the wallet's total is not the last row's balance", wallet.available_credits == last[5]),
        ("the wallet's time is not the last row's", wallet.last_at == last[CREATED]),
        (f"the wallet counts {spent} spent on {kept.spent_on}, its rows {kept.spent}", spent == kept.spent),
        ("the wallet overlooks the next expiry of a lot", wallet.next_expiry_at <= lot_ends),
        ("the wallet overlooks the end of a hold", wallet.next_hold_expiry_at <= hold_ends),
    )
    return [Finding(f"{account_id}/{last[1]}", what) for what, is_so in checks if not is_so]


def _lot_findings(account_id: str, kept: Kept, wallet: Wallet, lots: Sequence[Lot]) -> list[Finding]:
    found = []
    totals, held = [0] * len(BUCKETS), [0] * len(BUCKETS)
    left = dict(kept.left)
    for lot in lots:
        totals[BUCKETS.index(lot.bucket)] += lot.remaining_credits
        held[BUCKETS.index(lot.bucket)] += lot.held_credits
        if left.pop(lot.lot_id, 0) != lot.remaining_credits:
            found.append(Finding(lot.lot_id, "it holds something else than its entries leave"))
        if kept.ended.get(lot.lot_id, 0) != lot.expired_credits:
            found.append(Finding(lot.lot_id, "what expired of it is not what its rows say"))
        granted = kept.granted.get(lot.lot_id)
        if granted is None or not _is_as_granted(lot, granted):
            found.append(Finding(lot.lot_id, "no row granted it as it says"))
    found += [Finding(lot_id, "entries name a lot that is not there") for lot_id in left]
    if totals != wallet.available:
        found.append(Finding(account_id, f"buckets hold {totals}, the wallet says {wallet.available}"))
    if held != wallet.held:
        found.append(Finding(account_id, f"lots reserve {held}, the wallet says {wallet.held}"))
    return found


def _is_as_granted(lot: Lot, granted: Granted) -> bool:
    """Whether a lot is what its row made. The expiry stands in no row: a keyed grant's fingerprint tells it."""
    row = granted.row
    if (row[1], granted.credits, row[CREATED]) != (lot.granted_seq, lot.granted_credits, lot.granted_at):
        return False
    if (lot.lot_id, lot.bucket) not in {(entry.lot_id, entry.bucket) for entry in _entries.decode(row[ENTRIES])}:
        return False
    if lot.remaining_credits + lot.held_credits > lot.granted_credits:
        return False
    if row[3] not in ADDS:
        return True
    if (row[7], row[12]) != (lot.source, lot.purchase_id):
        return False
    if row[3] in GIVEN and (lot.cost_minor, lot.cost_currency) != (0, None):
        return False
    return row[24] is None or row[24] == _fingerprint(row, lot)


def _fingerprint(row: Row, lot: Lot) -> str:
    """The fingerprint of the grant that this row and this lot are of."""
    return fingerprint(
        Grant(
            operation=row[22],
            account_id=row[0],
            actor=row[18],
            type=row[3],
            source=row[7],
            bucket=lot.bucket,
            credits=lot.granted_credits,
            description=row[8],
            expires_at=None if lot.expires_at == NEVER else lot.expires_at,
            reference_type=row[9],
            reference_id=row[10],
            metadata=row[19],
        )
    )


def _purchase_findings(kept: Kept, lots: Sequence[Lot]) -> list[Finding]:
    """What lots say was taken and is owed of a purchase is what its refunds and disputes took and made debt."""
    kept_of: dict[str, int] = defaultdict(int)
    for lot in lots:
        if lot.is_of_subscription and lot.purchase_id is not None:
            kept_of[lot.purchase_id] += lot.taken_credits  # what holds let go later stands in no row yet
        elif lot.purchase_id is not None:
            kept_of[lot.purchase_id] += lot.taken_credits + lot.owed_credits
        elif lot.taken_credits or lot.owed_credits:
            kept_of[lot.lot_id] += lot.taken_credits + lot.owed_credits
    return [
        Finding(purchase_id, f"its lots say {kept_of[purchase_id]} were taken or are owed, its rows {said}")
        for purchase_id, said in ((p, kept.returned.get(p, 0)) for p in [*kept_of, *(kept.returned.keys() - kept_of)])
        if kept_of[purchase_id] != said
    ]


def _hold_findings(kept: Kept, lots: Sequence[Lot], holds: Sequence[tuple[Hold, int]]) -> list[Finding]:
    """The open holds are those that their rows made, and what is held of each lot is what they pin."""
    found = []
    pinned: dict[str, int] = defaultdict(int)
    opened = dict(kept.holds)
    for hold, credits in holds:
        made = opened.pop(hold.hold_id, None)
        if hold.credits != credits:
            found.append(Finding(hold.hold_id, f"its parts are {hold.credits} and it says {credits}"))
        is_same = made is not None and (hold.parts, hold.expires_at) == (made.parts, made.expires_at)
        if not is_same or hold.ended_at is not None or hold.captured_credits or hold.counted_credits:
            found.append(Finding(hold.hold_id, "it is open as something else than its rows say"))
        for part in hold.parts:
            pinned[part.lot_id] += part.credits
    found += [Finding(hold_id, "its rows leave it open, and it is not") for hold_id in opened]
    for lot in lots:
        said, pins = kept.held.get(lot.lot_id, 0), pinned.pop(lot.lot_id, 0)
        if not said == pins == lot.held_credits:
            what = f"{lot.held_credits} of it are held, its rows say {said} and the open holds pin {pins}"
            found.append(Finding(lot.lot_id, what))
    return found + [Finding(lot_id, "open holds pin a lot that is not there") for lot_id in pinned]


def _use_findings(account_id: str, kept: Kept, uses: Sequence[DayUse]) -> list[Finding]:
    """Days and providers on which the kept totals are not what the debits say."""
    stored = {(use.day, use.provider_id): (use.credits_spent, use.call_count, use.provider_name) for use in uses}
    found = []
    for key in sorted(kept.uses.keys() | stored.keys()):
        made = kept.uses.get(key, (0, 0, None))
        if made != stored.get(key, (0, 0, made[2])):
            where = f"{account_id}/{key[0]}"
            found.append(Finding(where, f"usage of {key[1] or 'no provider'} is not what its debits say"))
    return found


def _key_findings(account_id: str, kept: Kept, key_uses: Mapping[tuple[str, date], int]) -> list[Finding]:
    """Days on which a key's limit counts something else than was spent and held with the key."""
    return [
        Finding(f"{account_id}/{day}", f"{key_uses.get((key, day), 0)} count on {key}, its rows say {made}")
        for key, day in sorted(kept.keys.keys() | key_uses.keys(), key=str)
        if (made := kept.keys.get((key, day), 0)) != key_uses.get((key, day), 0)
    ]
