"""A database with the real flows on it, told the same as the oracle; and the form in which both are compared."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

import msgspec
from msgspec import structs

from engine.book import post
from engine.flows import coupons, refunds
from engine.flows.admin import StatusOrder, change_status
from engine.flows.converge import apply_facts
from engine.flows.limits import change_limits
from engine.group_commit import in_threads
from engine.rules import commands as c
from engine.rules.catalog import Catalog
from engine.rules.decisions import Terms
from engine.rules.errors import Refusal
from engine.rules.facts import Fact
from engine.rules.ledger import Transaction
from engine.rules.money import Money
from engine.rules.money_back import MARK
from engine.runtime import Runtime, Secrets
from engine.store.database import Database, transact, writing
from engine.store.tables import PurchaseRow
from tests.engine.backends import Crash, Stored, WalletBooks
from tests.engine.support import FakeClock, create_accounts
from tests.flows.world import BookProvider, _as_clock
from tests.simulation.oracle import Bought


class Keeper:
    """One database: the write path behind group commit, and the flows in transactions of their own."""

    def __init__(self, find: Callable[[], Database], terms: Terms, clock: FakeClock, catalog: Catalog) -> None:
        self._find = find
        self._terms = terms
        self._clock = clock
        self._catalog = catalog
        self.provider = BookProvider()
        self.reversals: dict[str, str] = {}
        self.runtime = self._start()

    def _start(self) -> Runtime:
        db = self._find()
        return Runtime(
            db=db,
            catalog=self._catalog,
            secrets=Secrets(("the operator's secret key for tests",)),
            terms=self._terms,
            clock=_as_clock(self._clock),  # type: ignore[arg-type]
            group=in_threads(db, self._terms, self._clock.now, lanes=1),
            providers={"stripe": self.provider},
            base_url="https://purser.example",
            return_origins=("https://purser.example",),
        )

    def close(self) -> None:
        self.runtime.group.close()

    def reopen(self) -> None:
        self.runtime = self._start()

    def open(self, account_id: str) -> None:
        create_accounts(self.runtime.db, account_id, now=self._clock.now())

    def books(self, account_id: str) -> WalletBooks:
        return Stored(self.runtime.db).books(account_id)

    def post(self, commands: Sequence[c.Command]) -> list[c.Outcome]:
        return [future.result(60) for future in self.runtime.group.submit_all(commands)]

    def crash(self, commands: Sequence[c.Command]) -> None:
        """Everything is decided and written, and the process dies before the commit."""
        try:
            with writing(self.runtime.db) as session:
                post(session, commands, self._terms, self._clock.now())
                raise Crash
        except Crash:
            pass

    def set_limits(self, account_id: str, daily: int | None, per_call: int | None) -> None:
        change_limits(self.runtime, account_id, daily, per_call, self._clock.now())

    def change_status(self, account_id: str, status: c.Status) -> str:
        try:
            change_status(self.runtime, StatusOrder(account_id=account_id, actor="admin:a", status=status, reason="r"))
        except Refusal as refusal:
            return refusal.code
        return "done"

    def redeem(self, account_id: str, code: str) -> str:
        try:
            order = coupons.RedeemOrder(account_id=account_id, actor="account:x", code=code)
            return str(coupons.redeem(self.runtime, order).redemption.credits)
        except Refusal as refusal:
            return refusal.code

    def buy(self, bought: Bought) -> None:
        """A purchase that waits for its payment."""
        now = self._clock.now()
        row = PurchaseRow(
            account_id=bought.account_id,
            purchase_id=bought.purchase_id,
            provider="stripe",
            status="open",
            amount_minor=bought.terms.amount.minor,
            currency="USD",
            base_credits=bought.terms.base_credits,
            bonus_credits=bought.terms.bonus_credits,
            tier="base",
            description="",
            success_url="https://purser.example",
            cancel_url="https://purser.example",
            session_id=f"cs_{bought.purchase_id}",
            actor="account:x",
            created_at=now,
            expires_at=now + timedelta(minutes=30),
            updated_at=now,
        )
        with writing(self.runtime.db) as session:
            session.add(row)

    def hear(self, bought: Bought, fact: Fact) -> str:
        """A provider's word about a purchase; its status after it."""

        def work_of(session: object) -> str:
            found = apply_facts(
                session,  # type: ignore[arg-type]
                self.runtime,
                bought.account_id,
                bought.purchase_id,
                [fact],
                "provider:stripe",
            )
            assert found is not None
            return found.status

        return transact(self.runtime.db, work_of)

    def reverse(self, bought: Bought) -> str:
        try:
            row, _ = refunds.reverse_purchase(self.runtime, bought.purchase_id, "asked", "support:s")
        except Refusal as refusal:
            return refusal.code
        self.reversals[bought.purchase_id] = row.reversal_id
        return row.status

    def send_refund(self, bought: Bought, answer: str) -> None:
        self.provider.refund_answer = answer
        refunds.send_refund(self.runtime, bought.account_id, self.reversals[bought.purchase_id])

    def own_refund(self, bought: Bought, state: str, version: int) -> Fact:
        """The provider's word on our own refund, which it knows by our reversal's id."""
        own = self.reversals[bought.purchase_id]
        return refund_fact(bought, f"re_{own}", state, bought.terms.amount.minor, version, own)


def refund_fact(bought: Bought, name: str, state: str, minor: int, version: int, own: str | None = None) -> Fact:
    return Fact(
        kind="refund",
        object_id=name,
        state=state,  # type: ignore[arg-type]
        amount=Money(minor, "USD"),
        version=version,
        live=False,
        parent_id=f"pi_{bought.purchase_id}",
        own_reference=own,
    )


def comparable(books: WalletBooks) -> WalletBooks:
    """Books without what the words of a flow change: descriptions, what is computed from them, and the money that a
    row which takes credits back says is out."""
    rows = tuple(map(_wordless, books.rows))
    return replace(books, wallet=structs.replace(books.wallet, head=b""), rows=rows)


def _wordless(row: Transaction) -> Transaction:
    fingerprint = row.fingerprint and "told by the key"
    metadata = "{}" if MARK in row.metadata else row.metadata
    return msgspec.structs.replace(row, description="", fingerprint=fingerprint, metadata=metadata, hash=b"")
