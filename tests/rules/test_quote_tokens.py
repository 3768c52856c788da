"""Quote tokens: what an offer holds, and that nobody else can make one or use it for something else."""

import base64
import json
from datetime import datetime, timedelta, timezone
from string import ascii_letters, digits

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.catalogs import load_catalog
from engine.rules.errors import QuoteRefused
from engine.rules.money import Money
from engine.rules.quotes import CouponOffer, QuoteOffer, check_offer, make_offer, quote, read_quote, sign_quote

NOW = datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=timezone.utc)
SECRET, OLD_SECRET = b"s" * 48, b"o" * 48
TOPUP20 = CouponOffer(code="TOPUP20", description="20% more on a top-up", percent=20, credits=20_000_000)
PROVIDERS = ["apple", "google", "moonpay", "paddle", "sandbox", "stripe"]
CATALOGS = {name: load_catalog(name) for name in ("alphio", "acn", "ecolink")}


def an_offer(**changes: object) -> QuoteOffer:
    quoted = quote(CATALOGS["acn"].pricing, Money(10_000, "USD"), "stripe")
    offer = make_offer(CATALOGS["acn"], quoted, "acc_1", "stripe", None, NOW)
    return replace(offer, **changes)  # type: ignore[arg-type]


def test_an_offer_holds_what_the_quote_gave_for_fifteen_minutes() -> None:
    offer = an_offer()
    assert (offer.base_credits, offer.bonus_credits, offer.tier) == (100_000_000, 5_000_000, "Bonus 5%")
    assert (offer.catalog, offer.amount) == ("acn", Money(10_000, "USD"))
    assert offer.expires_at == NOW + timedelta(minutes=15)


@given(
    st.builds(
        QuoteOffer,
        account_id=st.text(max_size=64),
        amount=st.builds(Money, st.integers(0, 10**15), st.sampled_from(["USD", "JPY"])),
        provider=st.none() | st.sampled_from(PROVIDERS),
        coupon=st.none() | st.builds(CouponOffer, code=st.text(max_size=32), description=st.text(max_size=200)),
        base_credits=st.integers(0, 10**15),
        bonus_credits=st.integers(0, 10**15),
        tier=st.text(max_size=32),
        catalog=st.text(max_size=32),
        expires_at=st.datetimes(
            min_value=datetime(2026, 11, 22),  # noqa: DTZ001 - the strategy adds the zone
            timezones=st.just(timezone.utc),
        ),
    )
)
def test_an_offer_comes_back_from_its_token_unchanged(offer: QuoteOffer) -> None:
    assert read_quote(sign_quote(offer, SECRET), [SECRET], NOW) == offer


def test_every_changed_character_of_a_token_is_refused() -> None:
    token = sign_quote(an_offer(), SECRET)
    tried = 0
    for index, character in enumerate(token):
        for other in ascii_letters + digits + "-_.=+/ \n":
            if other == character:
                continue
            tried += 1
            with pytest.raises(QuoteRefused):
                read_quote(token[:index] + other + token[index + 1 :], [SECRET], NOW)
    assert tried > 10_000


def test_a_token_cut_or_lengthened_is_refused() -> None:
    token = sign_quote(an_offer(), SECRET)
    longer = [token + "=", token + "\n", " " + token, token + ".", token + "A" * 3_000, token + "é", token + "\ud800"]
    for bad in [*(token[:end] for end in range(len(token))), *longer]:
        with pytest.raises(QuoteRefused):
            read_quote(bad, [SECRET], NOW)


def test_a_token_of_another_secret_purpose_shape_or_algorithm_is_refused() -> None:
    good = jwt.decode(sign_quote(an_offer(), SECRET), SECRET, ["HS256"], audience="purser:quote")
    head = base64.urlsafe_b64encode(json.dumps({"alg": "none", "typ": "JWT"}).encode()).rstrip(b"=").decode()
    nested = base64.urlsafe_b64encode(b"[" * 1_400).rstrip(b"=").decode()
    body = sign_quote(an_offer(), SECRET).split(".")[1]
    naive = good | {"offer": good["offer"] | {"expires_at": "2027-01-01T00:00:00"}}
    for bad in [
        sign_quote(an_offer(), b"x" * 32),
        jwt.encode(good | {"aud": "purser:portal"}, SECRET, "HS256"),
        jwt.encode({"offer": good["offer"]}, SECRET, "HS256"),
        jwt.encode({"aud": "purser:quote"}, SECRET, "HS256"),
        jwt.encode(good | {"offer": {"account_id": "acc_1"}}, SECRET, "HS256"),
        jwt.encode(naive, SECRET, "HS256"),
        jwt.encode(good, SECRET, "HS384"),
        f"{head}.{body}.",
        f"{nested}.{body}.x",
        "",
        "..",
    ]:
        with pytest.raises(QuoteRefused):
            read_quote(bad, [SECRET], NOW)


def test_an_older_secret_still_verifies_while_it_is_listed() -> None:
    token = sign_quote(an_offer(), OLD_SECRET)
    assert read_quote(token, [SECRET, OLD_SECRET], NOW) == an_offer()
    for secrets in ([SECRET], []):
        with pytest.raises(QuoteRefused):
            read_quote(token, secrets, NOW)


def test_a_token_is_good_until_its_end_and_not_at_it() -> None:
    token, end = sign_quote(an_offer(), SECRET), NOW + timedelta(minutes=15)
    assert read_quote(token, [SECRET], end - timedelta(microseconds=1)) == an_offer()
    with pytest.raises(QuoteRefused, match="ended"):
        read_quote(token, [SECRET], end)


def test_an_offer_is_good_for_its_own_checkout_only() -> None:
    amount = Money(10_000, "USD")
    check_offer(an_offer(), "acc_1", amount, "stripe", None)
    check_offer(an_offer(provider=None), "acc_1", amount, None, None)
    check_offer(an_offer(coupon=TOPUP20), "acc_1", amount, "stripe", " topup20 ")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"account_id": "acc_2"}, "account"),
        ({"amount": Money(10_001, "USD")}, "amount"),
        ({"amount": Money(10_000, "EUR")}, "amount"),
        ({"provider": "sandbox"}, "provider"),
        ({"provider": None}, "provider"),
        ({"coupon": TOPUP20}, "coupon"),
    ],
)
def test_an_offer_for_something_else_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(QuoteRefused, match=says):
        check_offer(an_offer(**changes), "acc_1", Money(10_000, "USD"), "stripe", None)


def test_an_offer_with_a_coupon_is_for_a_checkout_with_that_coupon() -> None:
    for code in (None, "", "TOPUP2", "LAUNCH50"):
        with pytest.raises(QuoteRefused, match="coupon"):
            check_offer(an_offer(coupon=TOPUP20), "acc_1", Money(10_000, "USD"), "stripe", code)
    with pytest.raises(QuoteRefused, match="coupon"):
        check_offer(an_offer(), "acc_1", Money(10_000, "USD"), "stripe", "TOPUP20")


def test_an_offer_with_a_rail_is_not_for_a_checkout_without_one() -> None:
    with pytest.raises(QuoteRefused):
        check_offer(an_offer(), "acc_1", Money(10_000, "USD"), None, None)
