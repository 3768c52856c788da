"""Alerts are the same however a history is cut into batches, in memory and in the databases, and as a plain count."""

import itertools
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.store.database import Database
from tests.engine.backends import Backend, InMemory, Stored, WalletBooks
from tests.engine.support import DAY_0
from tests.laws.histories import ACCOUNT, Moment, cut, histories

NUMBERS = itertools.count(1)
CUTS = st.lists(st.sets(st.integers(1, 7)), min_size=4, max_size=4)
THRESHOLDS = st.none() | st.integers(0, 80)
LIMITS = st.none() | st.integers(0, 60)


def told(
    history: Sequence[Moment], backend: Backend, threshold: int | None, limit: int | None, account_id: str = ACCOUNT
) -> WalletBooks:
    backend.open(account_id, DAY_0)
    backend.set_threshold(account_id, threshold)
    backend.set_limits(account_id, limit, None)
    for moment in history:
        backend.post([replace(command, account_id=account_id) for command in moment.commands], moment.now)
    return backend.books(account_id)


@given(history=histories(), cuts=CUTS, threshold=THRESHOLDS, limit=LIMITS)
def test_how_a_history_is_cut_does_not_matter_to_what_is_told(
    history: Sequence[Moment], cuts: list[set[int]], threshold: int | None, limit: int | None
) -> None:
    pieces = [piece for moment, places in zip(history, cuts, strict=False) for piece in cut(moment, places)]
    assert told(pieces, InMemory(), threshold, limit) == told(history, InMemory(), threshold, limit)


@settings(max_examples=40)
@given(history=histories(), cuts=CUTS, threshold=THRESHOLDS, limit=LIMITS)
def test_nor_does_it_in_a_database(
    db: Database, history: Sequence[Moment], cuts: list[set[int]], threshold: int | None, limit: int | None
) -> None:
    account_id = f"acc_alert_{next(NUMBERS)}"
    pieces = [piece for moment, places in zip(history, cuts, strict=False) for piece in cut(moment, places)]
    kept = told(pieces, Stored(db), threshold, limit, account_id)
    assert kept.notices == told(history, InMemory(), threshold, limit, account_id).notices
    assert kept.wallet.limit_alerted_on is None or limit is not None


@given(history=histories(), threshold=st.integers(0, 80))
def test_a_threshold_fires_once_for_each_fall(history: Sequence[Moment], threshold: int) -> None:
    """Counted from the ledger alone, one command at a time, what time did before it apart."""
    memory = InMemory()
    memory.open(ACCOUNT, DAY_0)
    memory.set_threshold(ACCOUNT, threshold)
    falls = empties = 0
    for moment in history:
        for command in moment.commands:
            before = memory.books(ACCOUNT)
            memory.post([command], moment.now)
            rows = memory.books(ACCOUNT).rows[len(before.rows) :]
            swept = next((place for place, row in enumerate(rows) if row.type != "expiry"), len(rows))
            steps = [before.wallet.available_credits]
            steps += [rows[place - 1].balance_after for place in (swept, len(rows)) if place]
            for old, new in itertools.pairwise(steps):
                falls += old > threshold >= new
                empties += old > 0 == new
    names = [notice.partition("@")[0] for notice in memory.books(ACCOUNT).notices]
    assert (names.count("lowBalance"), names.count("depleted")) == (falls, empties)
