"""Purchases and what their providers said of them: changed in any way that other credits follow from, it is found."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlalchemy import Update, text, update
from sqlmodel import Session

from engine.audit import audit
from engine.audit_desk import desk_findings
from engine.audit_purchases import audit_purchases
from engine.book import post
from engine.flows import quarantine, refunds
from engine.rules.audit import Finding
from engine.store import purchases
from engine.store.database import Database, reading, transact, writing
from engine.store.tables import Base, PurchaseRow
from tests.engine.support import FakeClock, debit, gift, wallet_of
from tests.flows.test_commits import commit
from tests.flows.test_refunds import reverse
from tests.flows.world import ACCOUNT, World, open_world

USD = 1_000_000
PURCHASES = Base.metadata.tables["purchases"]
FACTS, ROW = "UPDATE purchase_facts SET", "UPDATE purchases SET"


class Bought:
    """One purchase of each fate, by the word that the tests call it: `world` is acn, a million credits a dollar."""

    def __init__(self, world: World, clock: FakeClock) -> None:
        self.world, self.ids = world, dict[str, str]()
        world.posted(gift(ACCOUNT, 7))
        for name in ("plain", "reversed", "refunded", "part", "failed", "disputed", "warned", "lost"):
            clock.advance(timedelta(minutes=1))
            self.ids[name] = self.land(world.buy(2_000))
        reverse(world, self.of("reversed"))
        world.jobs.run_due()
        world.posted(debit(ACCOUNT, 30 * USD, key="spent"))
        world.deliver(world.refund_elsewhere(self.of("refunded"), "re_1", 2_000))
        world.deliver(world.refund_elsewhere(self.of("part"), "re_2", 500))
        world.deliver(world.refund_elsewhere(self.of("failed"), "re_3", 500))
        world.deliver(world.refund_elsewhere(self.of("failed"), "re_3", 500, "failed"))
        world.deliver(world.dispute(self.of("disputed"), "open"))
        world.deliver(world.dispute(self.of("warned"), "warning"))
        world.deliver(world.dispute(self.of("lost"), "open", 1_000), world.dispute(self.of("lost"), "lost", 1_000))
        accepted = world.buy(2_000)
        world.deliver(world.pay(accepted, minor=1_500))
        ruling = quarantine.Ruling(
            purchase_id=accepted.purchase_id, action="credit", reason="it is as good", actor="admin:root"
        )
        quarantine.rule(world.runtime, ruling)
        self.ids["accepted"] = accepted.purchase_id
        waiting = world.buy(2_000)
        world.deliver(world.pay(waiting, minor=1_500))
        self.ids["quarantined"] = waiting.purchase_id
        self.ids["open"] = world.buy(2_000).purchase_id

    def land(self, purchase: PurchaseRow) -> str:
        self.world.deliver(self.world.pay(purchase))
        return purchase.purchase_id

    def of(self, name: str) -> PurchaseRow:
        with reading(self.world.db) as session:
            found = purchases.get_purchase(session, ACCOUNT, self.ids[name])
        assert found is not None
        return found

    def found(self) -> list[tuple[str, str]]:
        report = audit(self.world.db, self.world.runtime.secrets.all_for("ledger chain"))
        return [(finding.where, finding.what) for finding in report.findings]

    def found_after(self, name: str, statement: str | Update) -> list[tuple[str, str]]:
        """What is found of purchases once this was changed; the change is taken back."""
        with Session(self.world.db.writer) as session:
            changed = text(statement).bindparams(id=self.ids[name]) if isinstance(statement, str) else statement
            assert session.connection().execute(changed).rowcount > 0
            findings: list[Finding] = []
            audit_purchases(session, findings)
            findings += desk_findings(session)
            session.rollback()
        return [(finding.where, finding.what) for finding in findings]


@pytest.fixture
def bought(db: Database, clock: FakeClock) -> Iterator[Bought]:
    world = open_world(db, clock)
    yield Bought(world, clock)
    world.close()


NO_PAYMENT = "it landed, and of its payment it is not known that it was paid"
TAMPERED: tuple[tuple[str, str, str], ...] = (
    ("plain", "DELETE FROM purchase_facts WHERE purchase_id = :id", NO_PAYMENT),
    ("part", "DELETE FROM purchase_facts WHERE purchase_id = :id", NO_PAYMENT),
    ("plain", f"{FACTS} state = 'failed' WHERE purchase_id = :id", NO_PAYMENT),
    ("plain", f"{FACTS} fact_id = 'pi_x' WHERE purchase_id = :id", NO_PAYMENT),
    ("plain", f"{FACTS} amount_minor = 2001 WHERE purchase_id = :id", "2001 USD were paid, 2000 USD are its price"),
    ("plain", f"{FACTS} currency = 'EUR' WHERE purchase_id = :id", "2000 EUR were paid, 2000 USD are its price"),
    (
        "accepted",
        f"{ROW} amount_minor = 2000 WHERE purchase_id = :id",
        "1500 USD were paid, 2000 USD are its price",
    ),
    ("accepted", f"{FACTS} amount_minor = 2000 WHERE purchase_id = :id", "2000 USD were paid, 1500 USD are its price"),
    (
        "part",
        f"{FACTS} amount_minor = 1 WHERE purchase_id = :id AND kind = 'refund'",
        "5000000 credits are out of it, its facts demand 10000",
    ),
    (
        "part",
        f"{FACTS} amount_minor = amount_minor + 1 WHERE purchase_id = :id AND kind = 'refund'",
        "5000000 credits are out of it, its facts demand 5010000",
    ),
    (
        "part",
        "DELETE FROM purchase_facts WHERE purchase_id = :id AND kind = 'refund'",
        "5000000 credits are out of it, its facts demand 0",
    ),
    (
        "refunded",
        "DELETE FROM purchase_facts WHERE purchase_id = :id AND kind = 'refund'",
        "20000000 credits are out of it, its facts demand 0",
    ),
    (
        "failed",
        f"{FACTS} state = 'succeeded' WHERE purchase_id = :id AND kind = 'refund'",
        "0 credits are out of it, its facts demand 5000000",
    ),
    (
        "disputed",
        f"{FACTS} state = 'won' WHERE purchase_id = :id AND kind = 'dispute'",
        "it is disputed and its facts say no",
    ),
    (
        "warned",
        f"{FACTS} state = 'open' WHERE purchase_id = :id AND kind = 'dispute'",
        "it is not disputed and its facts say it is",
    ),
    (
        "lost",
        f"{FACTS} amount_minor = 2000 WHERE purchase_id = :id AND kind = 'dispute'",
        "10000000 credits are out of it, its facts demand 20000000",
    ),
    (
        "plain",
        f"{ROW} status = 'refunded' WHERE purchase_id = :id",
        "it is refunded, its facts make it paid",
    ),
    ("plain", f"{ROW} status = 'failed' WHERE purchase_id = :id", "it is failed, its facts make it paid"),
    (
        "plain",
        f"{ROW} status = 'expired' WHERE purchase_id = :id",
        "it is expired, its facts make it paid",
    ),
    (
        "reversed",
        f"{ROW} status = 'paid' WHERE purchase_id = :id",
        "it is paid, its facts make it refunded",
    ),
    ("open", f"{ROW} status = 'paid' WHERE purchase_id = :id", "it is paid and never landed"),
    (
        "part",
        f"{ROW} credits_out = credits_out + 1 WHERE purchase_id = :id",
        "5000001 credits are out of it, its facts demand 5000000",
    ),
    (
        "part",
        f"{ROW} credits_out = credits_out + 1 WHERE purchase_id = :id",
        "5000000 credits were taken of it, 5000001 are to be out",
    ),
    (
        "disputed",
        f"{ROW} credits_out = credits_out - 1 WHERE purchase_id = :id",
        "20000000 credits were taken of it, 19999999 are to be out",
    ),
)
"""Which purchase, what is changed of it, and what the audit says of it."""


def test_a_changed_fact_or_purchase_is_found(bought: Bought) -> None:
    assert bought.found() == []
    for name, statement, what in TAMPERED:
        assert (bought.ids[name], what) in bought.found_after(name, statement), statement
    for change in ("amount_minor = 1", "amount_minor = amount_minor + 1", "currency = 'EUR'", "own_credits = 5"):
        statement = f"{FACTS} {change} WHERE purchase_id = :id AND kind = 'refund'"
        wrong = {what for _, what in bought.found_after("reversed", statement)}
        assert "the refund that was asked for is not known, or as another one" in wrong
    for name, seconds, when in (("plain", -1, "earlier"), ("plain", 1, "later"), ("accepted", 1, "later")):
        landed_at = bought.of(name).landed_at
        assert landed_at is not None
        moved = update(PURCHASES).where(PURCHASES.c.purchase_id == bought.ids[name])
        wrong = bought.found_after(name, moved.values(landed_at=landed_at + timedelta(seconds=seconds)))
        assert wrong == [(bought.ids[name], f"it landed {when} than its credits")]
    assert bought.found() == []


def test_what_only_looks_odd_is_right(bought: Bought, clock: FakeClock) -> None:
    """A clock was ahead: the wallet's rows go on from where they are, the purchase landed by the clock of now. And of
    a reversal the credits are out before anybody asks the provider for the money."""
    world, ahead = bought.world, clock.now() + timedelta(hours=1)
    transact(world.db, lambda session: post(session, [debit(ACCOUNT, 1, key="ahead")], world.runtime.terms, ahead))
    bought.ids["late"] = bought.land(world.buy(2_000))
    with reading(bought.world.db) as session:
        last_at = wallet_of(session, ACCOUNT).last_at
    landed_at = bought.of("late").landed_at
    assert landed_at is not None and landed_at < last_at
    assert bought.found() == []
    refunds.reverse_purchase(world.runtime, bought.ids["late"], "asked by mail", "support:ann")
    assert bought.of("late").credits_out > 0
    assert bought.found() == []


def test_a_first_purchase_landed_no_earlier_than_its_account_was_opened(db: Database, clock: FakeClock) -> None:
    world = open_world(db, clock)
    purchase = world.buy(2_000)
    clock.advance(timedelta(hours=1))
    world.deliver(world.pay(purchase))
    keys = world.runtime.secrets.all_for("ledger chain")
    assert audit(db, keys).findings == []
    with writing(db) as session:
        session.connection().execute(update(PURCHASES).values(landed_at=clock.now() - timedelta(seconds=1)))
    assert [found.what for found in audit(db, keys).findings] == ["it landed earlier than its credits"]
    world.close()


def test_a_commit_plans_facts_demand_a_share_of_the_parts_that_landed(db: Database, clock: FakeClock) -> None:
    world = open_world(db, clock, "ecolink")
    purchase = commit(world)
    world.deliver(world.pay(purchase))
    world.deliver(world.refund_elsewhere(purchase, "re_1", 100))
    keys = world.runtime.secrets.all_for("ledger chain")
    assert audit(db, keys).findings == []
    with writing(db) as session:
        session.connection().execute(text(f"{FACTS} amount_minor = 90 WHERE kind = 'refund'"))
    (finding,) = audit(db, keys).findings
    assert finding.where == purchase.purchase_id and "its facts demand" in finding.what
    world.close()
