"""Who may write a SQLite file: one connection of all a Purser's processes at a time, each in its turn."""

import threading
from pathlib import Path
from time import monotonic
from urllib.parse import unquote

import pytest

from engine import book
from engine.clock import Clock, new_id
from engine.rules.decisions import Terms
from engine.store.database import Database, open_beside, open_database, transact
from tests.engine.backends import Stored
from tests.engine.invariants import check
from tests.engine.support import CHAIN_KEY, create_accounts, gift


def test_two_connections_take_turns_at_one_file(sqlite: Database, sqlite_url: str) -> None:
    """Neither starves: each writes all its own while the other never pauses."""
    create_accounts(sqlite, "acc_1", "acc_2")
    terms, now = Terms(new_id, CHAIN_KEY), Clock().now
    beside = open_beside(sqlite_url, 10)
    done: dict[str, list[float]] = {"acc_1": [], "acc_2": []}

    def write(db: Database, account: str) -> None:
        for _ in range(150):
            transact(db, lambda session: book.post(session, [gift(account, 1)], terms, now()))
            done[account].append(monotonic())

    threads = [threading.Thread(target=write, args=each) for each in ((sqlite, "acc_1"), (beside, "acc_2"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    beside.close()
    first, last = max(each[0] for each in done.values()), min(each[-1] for each in done.values())
    together = [sum(first <= at <= last for at in each) for each in done.values()]
    assert min(together) > 30, together
    for account in done:
        books = Stored(sqlite).books(account)
        check(books)
        assert books.wallet.available_credits == 150


@pytest.mark.parametrize("name", ["50%2520off.db", "what%3F.db"])
def test_a_process_beside_means_the_same_file_and_turn_whatever_its_name(tmp_path: Path, name: str) -> None:
    db = open_database(f"sqlite:///{tmp_path}/{name}")
    with db.writer.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE here (x)")
    beside = open_beside(db.url, 1)
    with beside.writer.begin() as connection:
        connection.exec_driver_sql("INSERT INTO here VALUES (1)")
    beside.close()
    db.close()
    file = unquote(name)
    assert {each.name for each in tmp_path.iterdir()} == {file + end for end in ("", ".lock", ".next", ".turn")}
