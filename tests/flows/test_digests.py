"""What the calendar tells: credits about to expire, unusual days, summaries; each once, whatever crashes."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from sqlmodel import select

from engine.flows import digests
from engine.flows.alerts import change_alerts
from engine.jobs import Jobs
from engine.rules.commands import Hold, Void
from engine.store.database import Database, reading, transact
from engine.store.tables import CredentialRow, LotRow, OutboxRow
from tests.engine.support import DAY_0, FakeClock, bought, debit, gift
from tests.flows.world import ACCOUNT, World, open_world


@pytest.fixture
def world(db: Database, clock: FakeClock) -> Any:
    opened = open_world(db, clock)
    yield opened
    opened.close()


def notices(world: World, name: str) -> list[dict[str, Any]]:
    with reading(world.db) as session:
        rows = session.exec(select(OutboxRow).where(OutboxRow.kind == "notice")).all()
    found = [msgspec.json.decode(row.payload) for row in sorted(rows, key=lambda row: row.created_at)]
    return [each for each in found if each["notice"] == name]


def expiring(world: World) -> list[list[tuple[str, str, str]]]:
    """Of each warning: day, bucket and credits of what it names."""
    return [
        [(lot["expiresAt"][5:10], lot["bucket"], lot["credits"]) for lot in each["lots"]]
        for each in notices(world, "creditsExpiring")
    ]


def until(world: World, moment: datetime) -> None:
    """Let time pass in steps of some hours, the jobs running at each."""
    while world.clock.now() < moment:
        world.clock.advance(min(timedelta(hours=5), moment - world.clock.now()))
        world.jobs.run_due()


def test_a_lot_is_warned_of_seven_days_and_one_day_before(world: World) -> None:
    ends = DAY_0 + timedelta(days=30)
    world.post(gift(ACCOUNT, 40, "limited_time", until=ends))
    until(world, ends - timedelta(days=8))
    assert expiring(world) == []
    until(world, ends - timedelta(days=6))
    assert expiring(world) == [[("12-02", "limited_time", "40")]]
    world.post(debit(ACCOUNT, 15))
    until(world, ends + timedelta(days=2))
    assert expiring(world) == [[("12-02", "limited_time", "40")], [("12-02", "limited_time", "25")]]


def test_what_is_held_counts_once_and_what_is_spent_not_at_all(world: World) -> None:
    ends = DAY_0 + timedelta(days=8)
    world.post(gift(ACCOUNT, 40, "limited_time", until=ends), gift(ACCOUNT, 10, "limited_time", until=ends))
    held = world.posted(Hold(account_id=ACCOUNT, actor="service", credits=45, ttl_seconds=172_800))
    until(world, DAY_0 + timedelta(hours=25))
    assert expiring(world) == [[("11-10", "limited_time", "50")]]
    world.post(Void(account_id=ACCOUNT, actor="service", hold_id=held.transactions[0].reference_id or ""))
    world.post(debit(ACCOUNT, 50))
    until(world, ends)
    assert len(expiring(world)) == 1


def test_lots_of_a_day_share_a_mail_and_steps_are_once_each(world: World) -> None:
    world.post(
        gift(ACCOUNT, 1, "limited_time", until=DAY_0 + timedelta(days=10)),
        gift(ACCOUNT, 2, "monthly", until=DAY_0 + timedelta(days=10, hours=6)),
        gift(ACCOUNT, 4, "limited_time", until=DAY_0 + timedelta(days=4)),
        gift(ACCOUNT, 8, "limited_time", until=DAY_0 + timedelta(hours=20)),
        bought(ACCOUNT, "pur_1", 16),
    )
    until(world, DAY_0 + timedelta(days=12))
    assert expiring(world) == [
        [("11-06", "limited_time", "4"), ("11-12", "limited_time", "1"), ("11-12", "monthly", "2")],
        [("11-12", "limited_time", "1"), ("11-12", "monthly", "2")],
    ], "three days before the one and seven before the others is the same day; too short a life has no warning"
    with reading(world.db) as session:
        assert [row.warn_at for row in session.exec(select(LotRow)).all()] == [None] * 5


def test_a_crash_before_the_commit_loses_and_doubles_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.post(gift(ACCOUNT, 40, "limited_time", until=DAY_0 + timedelta(days=7, hours=1)))
    world.clock.advance(timedelta(hours=2))

    def die(*_: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(digests.alerts, "set_warnings", die)
        with pytest.raises(RuntimeError):
            digests.warn_of_expiry(world.runtime, world.clock.now())
    assert expiring(world) == []
    for _ in range(3):
        digests.warn_of_expiry(world.runtime, world.clock.now())
    assert expiring(world) == [[("11-09", "limited_time", "40")]]


def test_after_a_jump_over_both_steps_only_what_still_lives_is_named(world: World) -> None:
    world.post(
        gift(ACCOUNT, 1, "limited_time", until=DAY_0 + timedelta(days=20)),
        gift(ACCOUNT, 2, "limited_time", until=DAY_0 + timedelta(days=40, hours=12)),
    )
    world.clock.advance(timedelta(days=40))
    world.jobs.run_due()
    world.jobs.run_due()
    assert expiring(world) == [[("12-12", "limited_time", "2")]]


def spend_days(world: World, *credits: int) -> None:
    """Spend so much on each of the next days."""
    for each in credits:
        if each:
            world.posted(debit(ACCOUNT, each))
        world.clock.advance(timedelta(days=1))
        world.jobs.run_due()


def test_an_unusual_day_is_told_once(world: World) -> None:
    world.post(gift(ACCOUNT, 100_000))
    spend_days(world, *[100] * 7)
    world.posted(debit(ACCOUNT, 300))
    world.clock.advance(timedelta(minutes=6))
    world.jobs.run_due()
    assert notices(world, "unusualActivity") == [], "three times the average is not more than that"
    for _ in range(3):
        world.posted(debit(ACCOUNT, 1))
        world.clock.advance(timedelta(minutes=6))
        world.jobs.run_due()
    [told] = notices(world, "unusualActivity")
    assert (told["day"], told["spentCredits"], told["averageCredits"]) == ("2026-11-09", "301", "100")


def key_of(world: World, key_id: str, age: timedelta = timedelta(0)) -> str:
    """An API key of the customer's, made so long ago."""
    made = world.clock.now() - age
    row = CredentialRow(
        key_hash=key_id, credential_id=key_id, role="account", account_id=ACCOUNT, name=f"{key_id}'s name", hint="",
        created_at=made,
    )  # fmt: skip
    transact(world.db, lambda session: session.add(row))
    return key_id


def test_an_unusual_day_of_a_key_names_the_key_and_not_the_account(world: World) -> None:
    """The account as a whole does nothing unusual: it is one key of two that does, and it is old enough."""
    world.post(gift(ACCOUNT, 100_000))
    busy, steady = key_of(world, "key_busy"), key_of(world, "key_steady")
    for _ in range(7):
        world.post(replace(debit(ACCOUNT, 100), api_key_id=busy), replace(debit(ACCOUNT, 5_000), api_key_id=steady))
        world.clock.advance(timedelta(days=1))
        world.jobs.run_due()
    young = key_of(world, "key_young")
    for key_id, credits in ((busy, 300), (steady, 5_000), (young, 9_000)):
        world.posted(replace(debit(ACCOUNT, credits), api_key_id=key_id))
    world.clock.advance(timedelta(minutes=6))
    world.jobs.run_due()
    assert notices(world, "unusualActivity") == [], "three times the average is not more than that"
    for _ in range(2):
        world.posted(replace(debit(ACCOUNT, 1), api_key_id=busy))
        world.clock.advance(timedelta(minutes=6))
        world.jobs.run_due()
    [told] = notices(world, "unusualActivity")
    assert (told["apiKeyId"], told["keyName"], told["spentCredits"], told["averageCredits"]) == (
        "key_busy", "key_busy's name", "301", "100",
    )  # fmt: skip


def test_spends_without_a_key_are_looked_at_beside_those_with_one(world: World) -> None:
    world.post(gift(ACCOUNT, 100_000))
    steady = key_of(world, "key_steady")
    for _ in range(7):
        world.post(replace(debit(ACCOUNT, 5_000), api_key_id=steady), debit(ACCOUNT, 10))
        world.clock.advance(timedelta(days=1))
        world.jobs.run_due()
    world.post(replace(debit(ACCOUNT, 5_000), api_key_id=steady), debit(ACCOUNT, 31))
    world.clock.advance(timedelta(minutes=6))
    world.jobs.run_due()
    [told] = notices(world, "unusualActivity")
    assert (told["spentCredits"], told["averageCredits"], "apiKeyId" in told) == ("31", "10", False)


def test_a_new_account_and_a_quiet_one_have_no_usual_day(world: World) -> None:
    world.post(gift(ACCOUNT, 100_000))
    spend_days(world, 1, 5_000, *[0] * 7)
    world.posted(debit(ACCOUNT, 5_000))
    world.clock.advance(timedelta(minutes=6))
    world.jobs.run_due()
    assert notices(world, "unusualActivity") == []


def test_summaries_come_after_midnight_and_on_monday_once_each(world: World) -> None:
    assert DAY_0.weekday() == 0
    world.post(gift(ACCOUNT, 100_000))
    change_alerts(world.runtime, ACCOUNT, "keep", {"daily_summary": True, "weekly_summary": True})
    spend_days(world, 70, 0, 5, 0, 0, 0, 1, 0)
    daily = notices(world, "dailySummary")
    assert [(each["from"], each["to"]) for each in daily] == [
        (f"2026-11-{d:02}", f"2026-11-{d:02}") for d in range(2, 10)
    ]
    assert [each["spentCredits"] for each in daily] == ["70", "0", "5", "0", "0", "0", "1", "0"]
    assert (daily[0]["callCount"], daily[0]["balanceAfter"]) == (1, "99930")
    [weekly] = notices(world, "weeklySummary")
    assert (weekly["from"], weekly["to"], weekly["spentCredits"]) == ("2026-11-02", "2026-11-08", "76")
    assert weekly["callCount"] == 3


def test_several_workers_tell_once_and_a_summary_switched_off_is_not_told(world: World) -> None:
    world.post(gift(ACCOUNT, 100))
    change_alerts(world.runtime, ACCOUNT, "keep", {"daily_summary": True})
    world.clock.advance(timedelta(days=1))
    workers = [Jobs(world.runtime) for _ in range(3)]
    for worker in workers:
        worker.run_due()
    assert len(notices(world, "dailySummary")) == 1
    change_alerts(world.runtime, ACCOUNT, "keep", {"daily_summary": False})
    world.clock.advance(timedelta(days=1))
    workers[0].run_due()
    assert len(notices(world, "dailySummary")) == 1


def test_a_lot_from_before_warnings_is_looked_at_once(world: World) -> None:
    """A migrated lot is due at once; it is warned about at its own times."""
    ends = DAY_0 + timedelta(days=30)
    world.post(gift(ACCOUNT, 40, "limited_time", until=ends))

    def migrated(session: Any) -> None:
        for row in session.exec(select(LotRow)).all():
            row.warn_at = row.granted_at

    transact(world.db, migrated)
    world.jobs.run_due()
    assert expiring(world) == []
    with reading(world.db) as session:
        assert session.exec(select(LotRow)).one().warn_at == ends - timedelta(days=7)
