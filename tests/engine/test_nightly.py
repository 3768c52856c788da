"""The nightly audit: once a day over all processes, leased, interruptible, its result kept."""

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text

from engine import nightly
from engine.clock import monotonic, sleep
from engine.nightly import Nightly, Stopped, last_result
from engine.rules.commands import Posted
from engine.runtime import Runtime
from engine.store.database import Database, reading, writing
from tests.api.host import new_runtime
from tests.engine.support import FakeClock, create_accounts, gift

DAY = "2026-11-02"


@pytest.fixture
def runtime(db: Database, clock: FakeClock) -> Iterator[Runtime]:
    made = new_runtime(db, clock, "acn")
    create_accounts(db, "acc_1")
    assert isinstance(made.group.submit(gift("acc_1", 100)).result(10), Posted)
    yield made
    made.group.close()


def kept(runtime: Runtime) -> nightly.Result | None:
    with reading(runtime.db) as session:
        return last_result(session)


def test_a_day_is_audited_once_whoever_asks(runtime: Runtime) -> None:
    found = Nightly(runtime).run(DAY)
    assert found is not None and (found.rows, found.wallets, found.problems) == (1, 1, 0)
    assert Nightly(runtime).run(DAY) is None
    assert kept(runtime) == found


def test_what_it_finds_is_kept_with_the_first_of_it(runtime: Runtime) -> None:
    with writing(runtime.db) as session:
        session.execute(text("UPDATE transactions SET actor = 'x'"))
    found = Nightly(runtime).run(DAY)
    assert found is not None and found.problems == 1 and found.first.startswith("acc_1/1: ")


def test_a_day_that_another_process_has_is_left_alone_until_its_lease_ends(runtime: Runtime, clock: FakeClock) -> None:
    assert Nightly(runtime)._lease(DAY) is not None
    assert Nightly(runtime).run(DAY) is None and kept(runtime) is None
    clock.advance(nightly.LEASE + timedelta(seconds=1))
    assert Nightly(runtime).run(DAY) is not None


def test_many_at_once_make_one_audit(runtime: Runtime) -> None:
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(Nightly(runtime).run(DAY))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([each for each in found if each is not None]) == 1 and len(found) == 4


def test_it_begins_at_its_hour_and_once_a_day(runtime: Runtime, clock: FakeClock) -> None:
    assert clock.now().hour >= nightly.HOUR
    jobs = Nightly(runtime)
    for day in (DAY, "2026-11-03"):
        jobs.look()
        ends = monotonic() + 20
        while (found := kept(runtime)) is None or found.day != day:
            assert monotonic() < ends, "the audit did not run"
            sleep(0.02)
        clock.advance(timedelta(days=1))
    clock.advance(timedelta(hours=24 - clock.now().hour))
    assert clock.now().hour < nightly.HOUR
    jobs.stop()
    thread = jobs._thread
    jobs.look()
    assert jobs._thread is thread, "it is not its hour yet"


def test_it_ends_when_the_process_ends_and_leaves_the_day_to_another(runtime: Runtime, clock: FakeClock) -> None:
    stopped = Nightly(runtime)
    stopped._stopping.set()
    with pytest.raises(Stopped):
        stopped.run(DAY)
    assert kept(runtime) is None
    clock.advance(nightly.LEASE + timedelta(seconds=1))
    assert Nightly(runtime).run(DAY) is not None
