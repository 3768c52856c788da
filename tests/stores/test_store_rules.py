"""Store products and sightings: what the catalogue may say of them, what they cost, and what follows for a purchase."""

import pytest

from engine.catalogs import load_catalog
from engine.rules.catalog import CatalogError, read_catalog
from engine.rules.lots import NEVER, Lot
from engine.rules.money import Money
from engine.rules.purchases import KnownFact
from engine.rules.stores import Sighting, facts_of, price_of, usage_of
from tests.rules.test_catalog import changed

APPLE = 'provider = "apple"\nproduct_id = "com.alphio.credits.1000"\namount_minor = 1_000\n'


def seen(**more: object) -> Sighting:
    told: dict[str, object] = {"object_id": "t1", "product_id": "p", "quantity": 1, "state": "paid", "version": 5}
    return Sighting(**(told | {"live": True} | more))  # type: ignore[arg-type]


def test_a_product_is_priced_by_the_quote_or_by_its_own_credits() -> None:
    catalog = load_catalog("alphio")
    quoted = price_of(catalog, "apple", "com.alphio.credits.1000", 3)
    assert quoted is not None
    assert (quoted.amount, quoted.base_credits, quoted.bonus_credits) == (Money(3_000, "USD"), 3_000, 0)
    named = price_of(catalog, "google", "credits_5000", 2)
    assert named is not None and (named.amount, named.base_credits) == (Money(9_998, "USD"), 10_000)
    assert price_of(catalog, "google", "com.alphio.credits.1000", 1) is None


def test_the_quantity_does_not_reach_a_better_tier() -> None:
    quoted = price_of(load_catalog("alphio"), "apple", "com.alphio.credits.1000", 100)
    assert quoted is not None and quoted.base_credits == 100_000


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ('provider = "apple"\nproduct_id', 'provider = "stripe"\nproduct_id', "Invalid enum value 'stripe'"),
        ("amount_minor = 1_000\n", "amount_minor = 999\n", "can't be quoted"),
        ("amount_minor = 1_000\n", "amount_minor = 0\n", ">= 1"),
        ("amount_minor = 1_000\n", "amount_minor = 1_000\ncredits = 0\n", ">= 1"),
        ("amount_minor = 1_000\n", "amount_minor = 1_000\nprice = 3\n", "unknown field `price`"),
        ("com.alphio.credits.1000", "com.alphio.credits.5000", "stands there twice"),
    ],
)
def test_products_that_contradict_the_catalogue_are_refused(was: str, becomes: str, problem: str) -> None:
    text = changed("alphio", APPLE, APPLE.replace(was, becomes))
    with pytest.raises(CatalogError, match=problem):
        read_catalog(text)


def test_a_product_needs_its_rail() -> None:
    text = changed("alphio", '[[providers]]\nname = "google"\nplatforms = ["android"]\n', "")
    with pytest.raises(CatalogError, match="which providers does not offer"):
        read_catalog(text)


def kept(state: str) -> KnownFact:
    return KnownFact("t1:refund", "refund", "t1:refund", state, Money(500, "USD"), 1, True)


def test_a_payment_alone_says_nothing_of_refunds() -> None:
    (fact,) = facts_of(seen(refund_version=5), Money(999, "USD"), ())
    assert (fact.kind, fact.object_id, fact.state, fact.amount) == ("payment", "t1", "paid", Money(999, "USD"))


@pytest.mark.parametrize(
    ("parts", "of", "minor"), [(1, 3, 333), (2, 3, 666), (3, 3, 999), (50_000, 100_000, 499), (9, 3, 999)]
)
def test_a_refunded_share_is_money_rounded_down(parts: int, of: int, minor: int) -> None:
    _, refund = facts_of(seen(refunded_parts=parts, parts=of, refund_version=7), Money(999, "USD"), ())
    assert (refund.kind, refund.object_id, refund.parent_id) == ("refund", "t1:refund", "t1")
    assert (refund.state, refund.amount.minor, refund.version) == ("succeeded", minor, 7)


def test_a_refund_that_is_told_no_more_has_failed_where_a_store_can_undo_it() -> None:
    undone = facts_of(seen(refund_version=9), Money(999, "USD"), [kept("succeeded")])
    assert [(f.kind, f.state) for f in undone] == [("payment", "paid"), ("refund", "failed")]
    never_told = facts_of(seen(refund_version=9, is_reversed=True), Money(999, "USD"), [])
    assert [f.state for f in never_told] == ["paid", "failed"]
    cannot_undo = facts_of(seen(refund_version=0), Money(999, "USD"), [kept("succeeded")])
    assert [f.kind for f in cannot_undo] == ["payment"]


def lot(granted: int, remaining: int, **counts: int) -> Lot:
    return Lot("l", 1, "recharge", "custom_credits", NEVER, granted, remaining, **counts)


@pytest.mark.parametrize(
    ("lots", "share"),
    [
        ([lot(1_000, 1_000)], 0),
        ([lot(1_000, 0)], 100_000),
        ([lot(900, 300), lot(100, 100)], 60_000),
        ([lot(3, 2)], 33_333),
        ([lot(1_000, 400, taken_credits=500)], 10_000),
        ([lot(1_000, 0, taken_credits=1_000)], 0),
        ([lot(1_000, 0, taken_credits=600, owed_credits=400)], 40_000),
        ([lot(1_000, 500, held_credits=250)], 50_000),
        ([lot(1_000, 0, expired_credits=1_000)], 0),
        ([lot(10**15, 10**15 - 1)], 0),
    ],
)
def test_the_spent_share_is_exact(lots: list[Lot], share: int) -> None:
    usage = usage_of(lots, has_free_sample=False)
    assert usage.is_delivered and usage.spent_milli_percent == share


def test_what_never_landed_was_not_delivered() -> None:
    usage = usage_of([], has_free_sample=True)
    assert (usage.is_delivered, usage.spent_milli_percent) == (False, 0)
