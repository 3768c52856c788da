"""From a checkout to credits: once, whatever is lost, repeated or late."""

from datetime import timedelta

import pytest
from sqlmodel import select

from engine.audit import audit
from engine.rules.errors import Invalid, QuoteRefused, ReturnUrlRefused, TopUpNotInPlan, Unavailable
from engine.rules.money import Money
from engine.rules.quotes import make_offer, quote, sign_quote
from engine.store.database import Database, reading
from engine.store.documents import list_documents
from engine.store.tables import MailRow
from tests.engine.support import FakeClock, lots_of, rows_of, wallet_of
from tests.flows.world import ACCOUNT, World, open_world


def types(world: World) -> list[tuple[str, int]]:
    with reading(world.db) as session:
        return [(row.type, row.amount_credits) for row in rows_of(session, ACCOUNT)]


def is_clean(world: World) -> bool:
    report = audit(world.db, world.runtime.secrets.all_for("ledger chain"))
    assert report.findings == []
    return True


def test_500_dollars_land_as_a_deposit_and_a_bonus_lot(world: World) -> None:
    purchase = world.buy(50_000)
    assert world.purchase(purchase).status == "open"
    world.deliver(world.pay(purchase))
    assert types(world) == [("deposit", 500_000_000), ("volume_discount", 50_000_000)]
    landed = world.purchase(purchase)
    assert (landed.status, landed.provider_reference) == ("paid", f"pi_{purchase.purchase_id}")
    with reading(world.db) as session:
        first, second = rows_of(session, ACCOUNT)
        lots = lots_of(session, ACCOUNT)
    assert first.reference_type == "stripe_payment" and first.reference_id == f"pi_{purchase.purchase_id}"
    assert first.description == "Credit top-up: $500.00"
    assert [lot.cost_minor for lot in lots] == [50_000, 0]
    assert second.balance_after == 550_000_000
    assert is_clean(world)


def test_a_repeated_payment_event_credits_once(world: World) -> None:
    purchase = world.buy()
    paid = world.pay(purchase)
    world.deliver(paid, paid, paid)
    world.deliver(paid)
    assert types(world) == [("deposit", 10_000_000)]
    assert is_clean(world)


def test_a_receipt_and_a_mail_follow_the_credits_once(world: World) -> None:
    purchase = world.buy()
    paid = world.pay(purchase)
    world.deliver(paid, paid)
    world.jobs.run_due()
    with reading(world.db) as session:
        documents, total = list_documents(session, ACCOUNT, 1, 10)
        mails = session.exec(select(MailRow)).all()
    assert total == 1 and documents[0].number.endswith("-0000001")
    assert documents[0].amount_minor == 1_000
    assert [mail.kind for mail in mails] == ["paymentConfirmed"]
    assert documents[0].number in mails[0].text


def test_an_unpaid_session_grants_nothing_and_a_late_payment_beats_its_expiry(world: World) -> None:
    purchase = world.buy()
    world.deliver(world.pay(purchase, "expired"))
    assert world.purchase(purchase).status == "expired"
    assert types(world) == []
    world.clock.advance(timedelta(hours=2))
    world.deliver(world.pay(purchase))
    assert world.purchase(purchase).status == "paid"
    assert types(world) == [("deposit", 10_000_000)]


def test_the_sweeper_ends_a_session_nobody_paid_and_finds_the_payment_whose_webhook_was_lost(world: World) -> None:
    abandoned, lost = world.buy(), world.buy(2_000)
    world.pay(lost)
    world.clock.advance(timedelta(minutes=31))
    world.jobs.run_due()
    assert world.purchase(abandoned).status == "expired"
    assert world.purchase(lost).status == "paid"
    assert types(world) == [("deposit", 20_000_000)]


@pytest.mark.parametrize(
    ("minor", "currency", "paid"),
    [(999, "USD", "$9.99"), (1_001, "USD", "$10.01"), (1_000, "EUR", "10.00 EUR"), (1_000, "JPY", "1000 JPY")],
)
def test_another_amount_or_currency_is_quarantined_without_credits(
    world: World, minor: int, currency: str, paid: str
) -> None:
    purchase = world.buy()
    world.deliver(world.pay(purchase, minor=minor, currency=currency))
    held = world.purchase(purchase)
    assert (held.status, held.problem) == ("quarantined", f"paid {paid}, agreed $10.00")
    assert types(world) == []


def test_a_live_payment_never_credits_a_test_service(world: World) -> None:
    purchase = world.buy()
    world.provider.is_live = True
    live = world.pay(purchase)
    world.provider.is_live = False
    world.deliver(live)
    assert world.purchase(purchase).status == "quarantined"
    assert types(world) == []


def test_an_order_of_events_out_of_order_ends_paid(world: World) -> None:
    purchase = world.buy()
    opened, processing, paid = (world.pay(purchase, state) for state in ("open", "processing", "paid"))
    world.deliver(paid, processing, opened)
    assert world.purchase(purchase).status == "paid"
    assert types(world) == [("deposit", 10_000_000)]


def test_a_refund_that_arrives_before_its_payment_waits_for_it(world: World) -> None:
    purchase = world.buy()
    paid = world.pay(purchase)
    world.deliver(world.refund_elsewhere(purchase, "re_early", 1_000))
    assert types(world) == []
    world.deliver(paid)
    world.clock.advance(timedelta(hours=1))
    world.jobs.run_due()
    assert types(world) == [("deposit", 10_000_000), ("refund", -10_000_000)]
    assert world.purchase(purchase).status == "refunded"
    assert is_clean(world)


def test_a_suspended_wallet_still_takes_what_was_paid(world: World) -> None:
    purchase = world.buy()
    _set_status(world, "suspended")
    world.deliver(world.pay(purchase))
    assert types(world) == [("deposit", 10_000_000)]


def test_money_for_a_closed_wallet_goes_to_review(world: World) -> None:
    purchase = world.buy()
    _set_status(world, "closed")
    world.deliver(world.pay(purchase))
    held = world.purchase(purchase)
    assert held.status == "quarantined" and "WALLET-001" in (held.problem or "")
    assert types(world) == []


def _set_status(world: World, status: str) -> None:
    with world.db.writer.begin() as connection:
        connection.exec_driver_sql(f"UPDATE wallets SET status = '{status}'")


def test_the_same_key_is_the_same_checkout(world: World) -> None:
    first = world.buy(key="order-1")
    again = world.buy(key="order-1")
    assert again.purchase_id == first.purchase_id
    assert world.provider.checkouts_asked == 1


def test_a_provider_that_was_down_is_asked_again_for_the_same_purchase(world: World) -> None:
    world.provider.is_down = True
    with pytest.raises(Unavailable):
        world.buy(key="order-1")
    world.provider.is_down = False
    purchase = world.buy(key="order-1")
    with reading(world.db) as session:
        count = session.connection().exec_driver_sql("SELECT count(*) FROM purchases").scalar_one()
    assert count == 1 and purchase.status == "open"


def test_a_token_holds_its_price_and_belongs_to_its_account_amount_and_rail(world: World) -> None:
    runtime = world.runtime
    now = world.clock.now()
    priced = quote(runtime.catalog.pricing, Money(1_000, "USD"), None)
    signing = runtime.secrets.signing("quote")

    def token(**changes: object) -> str:
        asked: dict[str, object] = {"account_id": ACCOUNT, "provider": None, "coupon": None, "now": now, **changes}
        return sign_quote(make_offer(runtime.catalog, priced, **asked), signing)  # type: ignore[arg-type]

    bought = world.buy(quote_token=token())
    assert bought.base_credits == 10_000_000
    for wrong in (token(account_id="acc_other"), token(provider="stripe"), token()[:-2]):
        with pytest.raises(QuoteRefused):
            world.buy(quote_token=wrong)
    with pytest.raises(QuoteRefused):
        world.buy(2_000, quote_token=token())
    late = token()
    world.clock.advance(timedelta(minutes=15))
    with pytest.raises(QuoteRefused):
        world.buy(quote_token=late)


@pytest.mark.parametrize(
    "url",
    [
        "https://shop.example.evil.example/",
        "https://shop.example@evil.example/",
        "https://user:secret@shop.example/",
        "http://shop.example/",
        "//shop.example/",
        "/relative",
        "javascript:alert(1)",
        "https://shop.example:444/",
        "https://shop.example/\nx",
        "https://shop.example\\@evil.example/",
        "",
    ],
)
def test_a_return_url_elsewhere_is_refused_before_anything_is_written(world: World, url: str) -> None:
    with pytest.raises(ReturnUrlRefused):
        world.buy(success_url=url)
    with reading(world.db) as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM purchases").scalar_one() == 0


def test_return_urls_carry_our_words_and_keep_the_shops_own(world: World) -> None:
    purchase = world.buy(success_url="https://shop.example/back?cart=7&status=old", cancel_url="https://shop.example/")
    assert purchase.success_url == (
        f"https://shop.example/back?cart=7&status=success&purchase={purchase.purchase_id}"
        "&session_id={CHECKOUT_SESSION_ID}"
    )
    assert "status=cancelled" in purchase.cancel_url


def test_an_unknown_provider_is_refused(world: World) -> None:
    with pytest.raises(Invalid):
        world.buy(provider="paddle")


def test_a_plan_that_may_not_top_up_is_told_which_may(db: Database, clock: FakeClock) -> None:
    world = open_world(db, clock, "alphio", "free")
    with pytest.raises(TopUpNotInPlan) as refused:
        world.buy(2_000)
    assert refused.value.facts["requiredPlan"] == "base"
    world.close()


def test_money_that_arrived_is_credited_even_if_the_plan_lapsed_meanwhile(db: Database, clock: FakeClock) -> None:
    world = open_world(db, clock, "alphio", "pro")
    purchase = world.buy(30_000)
    with world.db.writer.begin() as connection:
        connection.exec_driver_sql("UPDATE accounts SET plan = 'free'")
    world.deliver(world.pay(purchase))
    with reading(world.db) as session:
        assert wallet_of(session, ACCOUNT).available_credits == 37_500
    world.close()
