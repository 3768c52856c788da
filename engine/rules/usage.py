"""Usage: what a wallet spends each day and on which provider, and how long what it holds will last.

A debit counts on its own UTC day: its credits, and one call. A reversal lowers the day of its debit, whenever it is
made: the credits by what was given back; the call stays a call until all of its debit is reversed, for a call that
was given back in part was still made.

The wallet itself carries the uses of its newest day, so that a spend writes no row for them; they go to the days'
own table when another day begins, or when there are too many of them.
"""

from collections.abc import Sequence
from datetime import date

from engine.rules.ledger import DayUse, Page, Transaction

FORECAST_DAYS = 7
"""The full days whose spending a forecast goes by."""

NO_PROVIDER = ""
"""`provider_id` of what was spent without naming a provider: a key column holds no null."""

CARRIED_MAX = 16
"""Uses that a wallet carries: the row of one that calls a hundred providers a day must not grow with them."""


def use_of_debit(debit: Transaction) -> DayUse:
    """What a debit adds to its day."""
    provider_id = debit.provider_id or NO_PROVIDER
    return DayUse(debit.created_at.date(), provider_id, debit.provider_name, -debit.amount_credits, 1)


def use_of_reversal(debit: Transaction, credits: int, *, is_whole: bool) -> DayUse:
    """What giving `credits` of a debit back takes from the debit's day; `is_whole`: nothing of it is left now."""
    provider_id = debit.provider_id or NO_PROVIDER
    return DayUse(debit.created_at.date(), provider_id, None, -credits, -1 if is_whole else 0)


def changes_of_use(page: Page) -> list[DayUse]:
    """What the rows a batch wrote change, one value for each debit and reversal, in their order."""
    changes = []
    undone: set[str] = set()
    for row in reversed(page.written):
        if row.type == "debit":
            changes.append(use_of_debit(row))
        elif row.type == "debit_reversal" and row.reverses_id is not None:
            debit = page.debits[row.reverses_id]
            is_last = row.reverses_id not in undone
            undone.add(row.reverses_id)
            is_whole = is_last and sum(page.reversed[row.reverses_id].values()) == -debit.amount_credits
            changes.append(use_of_reversal(debit, row.amount_credits, is_whole=is_whole))
    changes.reverse()
    return changes


def carry_uses(page: Page) -> list[DayUse]:
    """Take what the batch changed into the uses that the wallet carries; those that it carries no longer.

    Only the page's own day is opened: what changes an earlier day goes to the days' table, where that day is.
    """
    changes = changes_of_use(page)
    if not changes:
        return []
    wallet, today = page.wallet, page.at.date()
    carried, leaving = wallet.uses, ()
    if carried and carried[0].day != today and any(use.day == today for use in changes):
        carried, leaving = (), carried
    day = carried[0].day if carried else today
    carried = tuple(added_up([*carried, *[use for use in changes if use.day == day]]))
    if len(carried) > CARRIED_MAX:
        carried, leaving = (), (*leaving, *carried)
    wallet.uses = carried
    return added_up([*leaving, *[use for use in changes if use.day != day]])


def added_up(uses: Sequence[DayUse]) -> list[DayUse]:
    """One value for each day and provider, in their order."""
    if not uses:
        return []
    sums: dict[tuple[date, str], DayUse] = {}
    for use in uses:
        key = (use.day, use.provider_id)
        sums[key] = sums[key].plus(use) if key in sums else use
    return [sums[key] for key in sorted(sums)]


def days_to_empty(available_credits: int, spent_credits: int) -> int | None:
    """Whole days that what is available lasts at the average of the last full days, in which `spent_credits` went.

    `None` when nothing was spent: then there is no telling.
    """
    if spent_credits <= 0:
        return None
    return available_credits * FORECAST_DAYS // spent_credits
