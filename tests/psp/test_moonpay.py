"""A link to MoonPay holds the price and our wallet, its webhooks are checked strictly, and amounts are read exactly."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from engine.payments import Event, Fact, ProviderRefused, ProviderUnreachable
from engine.rules.errors import WebhookRefused
from engine.rules.money import Money
from psp.moonpay import MoonPay
from tests.engine.support import DAY_0, FakeClock
from tests.psp.fake_moonpay import WALLET, FakeMoonPay, moonpay_header
from tests.psp.paddle_orders import asking
from tests.psp.stripe_orders import an_order, verdict_after

TS = int(DAY_0.timestamp())


@pytest.fixture
def fake(clock: FakeClock) -> Iterator[FakeMoonPay]:
    with FakeMoonPay(now=clock.now) as started:
        yield started


@pytest.fixture
def rail(fake: FakeMoonPay) -> MoonPay:
    return MoonPay(*fake.keys, api_base=fake.base_url, timeout_seconds=5)


def sent(fake: FakeMoonPay, event: dict[str, Any], rail: MoonPay) -> Event:
    body, headers = fake.signed(event)
    return rail.verify(headers, body, fake.now())


def told(fake: FakeMoonPay, rail: MoonPay) -> Fact:
    (fact,) = rail.facts(sent(fake, fake.events[-1], rail))
    return fact


# The link


def test_a_link_holds_the_price_our_wallet_and_the_purchase(fake: FakeMoonPay, rail: MoonPay) -> None:
    checkout = rail.start_checkout(an_order())
    given = fake.opened(checkout.url)
    assert given.pop("signature")
    assert given == {
        "apiKey": "pk_test_fake",
        "currencyCode": "usdc",
        "walletAddress": WALLET,
        "baseCurrencyCode": "usd",
        "baseCurrencyAmount": "25.00",
        "lockAmount": "true",
        "externalTransactionId": "pay_1",
        "externalCustomerId": "mira",
        "redirectURL": "https://shop.example/back?status=success&purchase=pay_1&session_id=pay_1",
        "email": "mira@customer.example",
        "language": "de",
    }
    assert checkout.url.startswith("https://buy-sandbox.moonpay.com?apiKey=pk_test_fake&")
    assert (checkout.session_id, checkout.expires_at) == ("pay_1", DAY_0 + timedelta(minutes=30))


def test_the_same_order_is_the_same_link_and_nothing_is_asked(fake: FakeMoonPay, rail: MoonPay) -> None:
    assert rail.start_checkout(an_order()) == rail.start_checkout(an_order(asked_since=DAY_0))
    assert fake.requests == []


def test_a_changed_link_no_longer_holds(fake: FakeMoonPay, rail: MoonPay) -> None:
    url = rail.start_checkout(an_order()).url
    for changed in (url.replace("25.00", "20.00"), url.replace("pay_1", "pay_2"), url.replace(WALLET, "0x" + "0" * 40)):
        assert changed != url
        with pytest.raises(AssertionError, match="not signed"):
            fake.buy(changed)


@pytest.mark.parametrize(("currency", "minor", "text"), [("JPY", 2500, "2500"), ("EUR", 5, "0.05")])
def test_amounts_are_written_in_the_currencys_own_digits(
    fake: FakeMoonPay, rail: MoonPay, currency: str, minor: int, text: str
) -> None:
    given = fake.opened(rail.start_checkout(an_order(amount=Money(minor, currency))).url)
    assert (given["baseCurrencyAmount"], given["baseCurrencyCode"]) == (text, currency.lower())


def test_live_keys_lead_to_the_live_widget_and_a_solana_wallet_to_its_coin() -> None:
    rail = MoonPay("pk_live_1", "sk_live_1", "wk_live_1", "9WzDXwBbmkg8ZTbNMqUxvQRAyrZzDsGYdLVL9zYtAWWM")
    url = rail.start_checkout(an_order()).url
    assert rail.is_live and url.startswith("https://buy.moonpay.com?") and "currencyCode=usdc_sol&" in url


@pytest.mark.parametrize(
    "keys",
    [
        ("pk_live_1", "sk_test_1", "wk", WALLET),
        ("pk_test_1", "sk_live_1", "wk", WALLET),
        ("pk_test_1", "sk_test_1", " ", WALLET),
        ("pk_test_1", "sk_test_1", "wk", ""),
    ],
)
def test_keys_that_contradict_each_other_make_no_rail(keys: tuple[str, str, str, str]) -> None:
    with pytest.raises(ValueError, match=r"MoonPay"):
        MoonPay(*keys)


# What it tells


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("waitingPayment", "open"),
        ("waitingAuthorization", "processing"),
        ("pending", "processing"),
        ("completed", "paid"),
        ("failed", "failed"),
        ("something_new", "processing"),
    ],
)
def test_each_status_is_a_state_and_only_completed_is_paid(
    fake: FakeMoonPay, rail: MoonPay, status: str, state: str
) -> None:
    transaction_id = fake.buy(rail.start_checkout(an_order()).url)
    fake.move(transaction_id, status)
    fact = told(fake, rail)
    assert (fact.kind, fact.object_id, fact.state) == ("payment", transaction_id, state)
    assert (fact.purchase_id, fact.account_id, fact.session_id, fact.live) == ("pay_1", "mira", "pay_1", False)


@pytest.mark.parametrize(
    ("amount", "minor"),
    [(25, 2500), (19.99, 1999), (0.29, 29), (1.1, 110), (4.35, 435), (29.999, 2999), (24.995, 2499), (1e3, 100_000)],
)
def test_an_amount_is_read_exactly_and_never_rounded_up(
    fake: FakeMoonPay, rail: MoonPay, amount: float, minor: int
) -> None:
    fake.buy(rail.start_checkout(an_order()).url, baseCurrencyAmount=amount)
    assert told(fake, rail).amount == Money(minor, "USD")


def test_an_amount_past_what_a_float_can_hold_is_read_digit_by_digit(fake: FakeMoonPay, rail: MoonPay) -> None:
    transaction_id = fake.buy(rail.start_checkout(an_order()).url)
    body = json.dumps(fake.transactions[transaction_id] | {"baseCurrencyAmount": 1})
    fake.fail(200, body=body.replace('"baseCurrencyAmount": 1', '"baseCurrencyAmount": 90071992547409.93'))
    assert told(fake, rail).amount == Money(9_007_199_254_740_993, "USD")


@pytest.mark.parametrize("changed", [{"baseCurrencyAmount": 24}, {"baseCurrency": {"code": "eur"}}])
def test_another_amount_or_currency_is_quarantined(fake: FakeMoonPay, rail: MoonPay, changed: dict[str, Any]) -> None:
    fake.complete(fake.buy(rail.start_checkout(an_order()).url, **changed))
    assert verdict_after(told(fake, rail)).status == "quarantined"


def test_coins_sent_to_another_wallet_pay_nothing(fake: FakeMoonPay, rail: MoonPay) -> None:
    elsewhere = fake.buy(rail.start_checkout(an_order()).url, walletAddress="0x" + "1" * 40)
    fake.complete(elsewhere)
    assert told(fake, rail).state == "failed"
    lower = fake.buy(rail.start_checkout(an_order()).url, walletAddress=WALLET.lower())
    fake.complete(lower)
    assert told(fake, rail).state == "paid"


def test_a_second_try_from_the_same_link_is_another_payment_and_the_paid_one_speaks(
    fake: FakeMoonPay, rail: MoonPay
) -> None:
    url = rail.start_checkout(an_order()).url
    fake.move(fake.buy(url), "failed")
    paid = fake.buy(url)
    fake.complete(paid)
    facts = rail.payment("pay_1")
    assert [fact.state for fact in facts] == ["failed", "paid"]
    for order in (facts, facts[::-1]):
        verdict = verdict_after(*order)
        assert verdict.paid_by is not None and verdict.paid_by.object_id == paid


def test_an_old_payload_tells_what_is_true_now(fake: FakeMoonPay, rail: MoonPay) -> None:
    transaction_id = fake.buy(rail.start_checkout(an_order()).url)
    first = sent(fake, fake.events[0], rail)
    fake.complete(transaction_id)
    (fact,) = rail.facts(first)
    assert fact.state == "paid"


def test_a_link_nobody_opened_tells_nothing(rail: MoonPay) -> None:
    assert rail.payment("pay_1") == ()
    with pytest.raises(ProviderRefused, match="not_an_id"):
        rail.payment("../currencies")


def test_what_is_not_ours_tells_nothing(fake: FakeMoonPay, rail: MoonPay) -> None:
    fake.buy(rail.start_checkout(an_order()).url, externalTransactionId=None)
    assert rail.facts(sent(fake, fake.events[-1], rail)) == ()
    assert rail.facts(sent(fake, {"type": "sell_transaction_created", "data": {"id": "s_1"}}, rail)) == ()


def test_nothing_is_paid_back_from_here(fake: FakeMoonPay, rail: MoonPay) -> None:
    assert not rail.can_refund and rail.merchant_of_record is None
    with pytest.raises(ProviderRefused, match="by hand"):
        rail.refund(asking("bda09e91"))
    assert fake.requests == []


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (None, ""),
        (401, "{}"),
        (429, "{}"),
        (500, ""),
        (302, ""),
        (200, "<html>"),
        (200, '{"status": "completed"}x'),
        (200, '{"externalTransactionId": "pay_1", "status": "completed", "walletAddress": "0x1"}'),
    ],
)
def test_what_may_yet_be_told_is_unreachable(fake: FakeMoonPay, rail: MoonPay, status: int | None, body: str) -> None:
    fake.buy(rail.start_checkout(an_order()).url)
    event = sent(fake, fake.events[-1], rail)
    for call in (lambda: rail.payment("pay_1"), lambda: rail.facts(event)):
        if status is None:
            fake.drop()
        else:
            fake.fail(status, body=body)
        with pytest.raises(ProviderUnreachable) as error:
            call()
        assert "sk_test" not in str(error.value)


# Webhooks


def bytes_of(told: object) -> bytes:
    return json.dumps(told, indent=1).encode()


TOLD = {"type": "transaction_updated", "data": {"id": "bda09e91", "status": "pending", "updatedAt": "2026-11-02"}}
GOOD = moonpay_header(bytes_of(TOLD), TS, "wk_test_fake")


def verify(rail: MoonPay, body: bytes, header: str | None = None, now: datetime = DAY_0) -> Event:
    signature = moonpay_header(body, TS, "wk_test_fake") if header is None else header
    return rail.verify({"moonpay-signature-v2": signature}, body, now)


def test_an_event_is_its_transaction_in_one_state_at_one_time(rail: MoonPay) -> None:
    body = bytes_of(TOLD)
    first, again = verify(rail, body), verify(rail, bytes_of(TOLD | {"externalCustomerId": "mira"}))
    assert (first.type, first.payload) == ("transaction_updated", body) and first.event_id == again.event_id
    others = [
        TOLD | {"data": TOLD["data"] | {"status": "completed"}},  # type: ignore[operator]
        TOLD | {"data": TOLD["data"] | {"updatedAt": "2026-11-03"}},  # type: ignore[operator]
        TOLD | {"data": TOLD["data"] | {"id": "other"}},  # type: ignore[operator]
        TOLD | {"type": "transaction_failed"},
    ]
    assert len({first.event_id, *(verify(rail, bytes_of(other)).event_id for other in others)}) == 5


@pytest.mark.parametrize(
    "header",
    [
        "",
        "junk",
        GOOD.upper(),
        f"{GOOD},s=aa",
        GOOD.replace(f"t={TS},", ""),
        f" {GOOD}",
        moonpay_header(bytes_of(TOLD), TS, "sk_test_fake"),
        moonpay_header(bytes_of(TOLD), TS, ""),
        GOOD.replace(f"t={TS}", f"t={TS + 1}"),
    ],
)
def test_a_header_that_is_not_exactly_moonpays_is_refused(rail: MoonPay, header: str) -> None:
    with pytest.raises(WebhookRefused):
        verify(rail, bytes_of(TOLD), header)


def test_only_the_second_signature_counts(rail: MoonPay) -> None:
    with pytest.raises(WebhookRefused):
        rail.verify({"moonpay-signature": GOOD}, bytes_of(TOLD), DAY_0)


@pytest.mark.parametrize(("age", "is_taken"), [(301, False), (300, True), (-60, True), (-61, False)])
def test_a_timestamp_may_lie_300_seconds_back_and_60_ahead(rail: MoonPay, age: int, is_taken: bool) -> None:
    now = DAY_0 + timedelta(seconds=age)
    if is_taken:
        assert verify(rail, bytes_of(TOLD), now=now).type == "transaction_updated"
    else:
        with pytest.raises(WebhookRefused):
            verify(rail, bytes_of(TOLD), now=now)


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe",
        b"[]",
        b"[" * 100_000,
        bytes_of({"data": {"id": "1"}}),
        bytes_of({"type": "transaction_updated"}),
        bytes_of({"type": "transaction_updated", "data": {"id": "../x"}}),
        bytes_of({"type": "transaction_updated", "data": [1]}),
    ],
)
def test_signed_bytes_that_are_no_event_are_refused(rail: MoonPay, body: bytes) -> None:
    with pytest.raises(WebhookRefused):
        verify(rail, body)
