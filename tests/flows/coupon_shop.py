"""acn with coupons of every kind, at a provider that can end its checkouts or can't."""

from collections.abc import Iterator
from dataclasses import replace

import msgspec

from engine.audit import audit
from engine.flows import topups
from engine.payments import ProviderRefused
from engine.rules.catalog import Coupon
from engine.rules.money import Money
from engine.store import books, coupons
from engine.store.bulk import insert_rows
from engine.store.database import Database, reading, transact
from engine.store.tables import PurchaseRow
from tests.engine.support import FakeClock
from tests.flows.world import BookProvider, World, open_world

COUPONS = (
    Coupon(code="MORE20", description="20% more", percent=20),
    Coupon(code="ONE", description="For one", percent=50, max_redemptions=1),
    Coupon(code="GIFT", description="A gift", credits=5, bucket="recharge"),
    Coupon(code="ALPS", description="For the Alps", percent=5, countries=("AT", "CH")),
    Coupon(code="AGAIN", description="For those who came before", percent=5, first_top_up_required=True),
)


class Ending(BookProvider):
    """A provider that can end its checkouts before anybody has paid them; not what has failed, if that `is_final`."""

    def __init__(self) -> None:
        super().__init__()
        self.paid_meanwhile = False
        self.is_final = False

    def end_checkout(self, session_id: str) -> None:
        self._answering()
        request = self.requests[session_id]
        name = f"pi_{request.purchase_id}"
        if self.is_final:
            raise ProviderRefused("session_over", "It has failed.")
        if self.paid_meanwhile:
            self.say("payment", name, "paid", request.amount.minor, request=request)
            raise ProviderRefused("session_over", "It was paid.")
        self.say("payment", name, "expired", request.amount.minor, request=request)

    def has_ended(self, session_id: str) -> bool:
        raise NotImplementedError

    start_subscription = change_subscription = act_on_subscription = subscription = has_ended


def opened(db: Database, clock: FakeClock, provider: BookProvider) -> Iterator[World]:
    world = open_world(db, clock, provider=provider)
    catalog = msgspec.structs.replace(world.runtime.catalog, coupons=COUPONS)
    world.runtime = world.jobs.runtime = replace(world.runtime, catalog=catalog)
    yield world
    report = audit(db, world.runtime.secrets.all_for("ledger chain"))
    world.close()
    assert report.findings == []


def used(world: World, coupon: str = "more20") -> int:
    with reading(world.db) as session:
        return coupons.uses_of(session, coupon)


def open_account(world: World, account_id: str) -> None:
    now = world.clock.now()
    columns = ("account_id", "email", "name", "country", "locale", "profile", "plan", "anchor_at", "created_at")

    def insert(session: object) -> None:
        insert_rows(session, "accounts", columns, [(account_id, None, None, "DE", "en", "{}", None, now, now)])  # type: ignore[arg-type]
        insert_rows(session, "wallets", books.WALLET, [books.new_wallet_row(account_id, now)])  # type: ignore[arg-type]

    transact(world.db, insert)


def buy_one(world: World, account_id: str) -> PurchaseRow:
    """A checkout of another account with the coupon that only one may use."""
    order = topups.CheckoutOrder(account_id=account_id, actor="a", amount=Money(1_000, "USD"), coupon="ONE")
    return topups.start_checkout(world.runtime, order).purchase
