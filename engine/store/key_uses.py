"""API keys on a page: their own limits, and what was spent with them each UTC day, under the wallet's lock."""

from collections.abc import Iterable, Sequence

from engine.rules.ledger import KeyUse, Page
from engine.store.bulk import Row, ask_rows, insert_rows, update_rows
from engine.store.pens import AnySession

LIMITS = ("account_id", "credential_id", "revoked_at", "expires_at", "daily_limit_credits", "per_call_limit_credits")
USE = ("account_id", "api_key_id", "day", "credits_spent")
IS_KEY = "role = 'account'"


def add_keys(session: AnySession, pages: dict[str, Page], named: Iterable[Row]) -> None:
    """Load the keys that the batch names, and those that made the holds and debits it reaches."""
    wanted = {*named}
    for account_id, page in pages.items():
        if not (page.holds or page.debits):
            continue
        made = (*(hold.api_key_id for hold in page.holds.values()), *(row.api_key_id for row in page.debits.values()))
        wanted.update((account_id, api_key_id) for api_key_id in made if api_key_id is not None)
    if not wanted:
        return
    days = [(*key, pages[key[0]].at.date()) for key in wanted if key[0] in pages]
    limits = ask_rows(session, "credentials", LIMITS, ("account_id", "credential_id"), list(wanted), where=IS_KEY)
    uses = ask_rows(session, "key_usage_daily", USE, USE[:3], days)
    for account_id, api_key_id, revoked_at, ends_at, daily, per_call in limits():
        if account_id in pages:
            is_over = revoked_at is not None or (ends_at is not None and ends_at <= pages[account_id].at)
            pages[account_id].keys[api_key_id] = KeyUse(api_key_id, is_over, daily, per_call)
    for account_id, api_key_id, _, spent in uses():
        key = pages[account_id].keys[api_key_id]
        key.spent_credits = key.stored_credits = spent


def save_key_uses(session: AnySession, changed: Sequence[Page]) -> None:
    """Write what each key has spent on the page's day, where the batch changed it."""
    new: list[Row] = []
    moved: list[Row] = []
    for page in changed:
        for key in page.keys.values():
            row = (page.wallet.account_id, key.api_key_id, page.at.date(), key.spent_credits)
            if key.stored_credits is None and key.spent_credits != 0:
                new.append(row)
            elif key.stored_credits is not None and key.stored_credits != key.spent_credits:
                moved.append(row)
    insert_rows(session, "key_usage_daily", USE, new)
    update_rows(session, "key_usage_daily", USE[:3], USE[3:], moved)
