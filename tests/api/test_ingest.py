"""Webhooks that come together are kept together, and each hears its own answer."""

from sqlalchemy import event

from engine.clock import real_now
from engine.ingest import Ingest
from engine.payments import Event
from engine.store.database import Database

EVENTS = 1_000


def test_events_that_come_together_share_few_commits_and_each_hears_whether_it_is_new(db: Database) -> None:
    ingest = Ingest()
    at = real_now()
    commits = []

    def count(*_: object) -> None:
        commits.append(1)

    event.listen(db.writer, "commit", count)
    try:
        futures = [ingest.keep(db, "stripe", Event(f"evt_{n % 600}", "x", b"{}"), at) for n in range(EVENTS)]
        new = [future.result(30) for future in futures]
    finally:
        event.remove(db.writer, "commit", count)
    assert sum(new) == 600 and all(new[:600])
    assert len(commits) <= EVENTS // 20


def test_an_event_the_database_refuses_stands_alone(db: Database) -> None:
    ingest = Ingest()
    bad: object = None
    events = [Event(f"evt_{n}", "x", b"{}") for n in range(20)]
    events[7] = Event("evt_bad", bad, b"{}")  # type: ignore[arg-type]
    futures = [ingest.keep(db, "stripe", each, real_now()) for each in events]
    outcomes = [future.exception(30) is None for future in futures]
    assert outcomes == [n != 7 for n in range(20)]
