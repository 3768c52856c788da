"""A subscription that an app shows: opened for who shows it, once, and another account's is not found."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from engine.rules.periods import period_start
from tests.api.host import assert_problem
from tests.engine.support import DAY_0
from tests.stores.shop import Shop
from tests.stores.test_apple_subscriptions import PRO
from tests.stores.test_apple_subscriptions import Member as AppleMember
from tests.stores.test_google_subscriptions import Member


@pytest.fixture
def nora(shop: Shop) -> Member:
    return Member(shop, shop.host.open("nora"))


@pytest.fixture
def ada(shop: Shop) -> AppleMember:
    return AppleMember(shop, shop.host.open("ada"))


def test_a_shown_token_is_answered_by_its_payment_and_its_push_changes_nothing(nora: Member) -> None:
    token = nora.subscribe()
    answer = nora.shop.post_google(token, "pro", nora.path)
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["status"], shown["creditsGranted"], shown["amountMinor"]) == ("completed", "10000", 4_900)
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100
    nora.hear("purchased", token)
    nora.shop.jobs.run_due()
    assert nora.shop.post_google(token, "pro", nora.path).json()["id"] == shown["id"]
    assert nora.monthly() == 10_100 and nora.play.acknowledged == [token]
    nora.wait_until(period_start(DAY_0, 1))
    nora.play.renew(token)
    later = nora.shop.post_google(token, "pro", nora.path).json()
    assert later["id"] != shown["id"] and nora.monthly() == 10_000
    nora.shop.check_books()


def test_a_key_answers_the_same_payment(nora: Member) -> None:
    body = {"productId": "pro", "purchaseToken": nora.subscribe()}
    path = f"{nora.path}/purchases/google"
    first = nora.shop.host.post(path, body, key="k1")
    again = nora.shop.host.post(path, body, key="k1")
    assert first.json() == again.json() and again.headers["idempotency-replayed"] == "true"
    assert_problem(nora.shop.host.post(path, body | {"productId": "base"}, key="k1"), 422, "IDEMPOTENCY-002")


def test_one_that_names_nobody_is_its_buyers_who_shows_it_once(nora: Member) -> None:
    otto = Member(nora.shop, nora.shop.host.open("otto"))
    token = nora.play.subscribe(None)
    nora.hear("purchased", token)
    assert nora.shop.events("google")["subscription"][0] == "parked"
    assert nora.shop.post_google(token, "pro", nora.path).status_code == 200
    assert_problem(nora.shop.post_google(token, "pro", otto.path), 404, "NOT-FOUND")
    nora.shop.host.wait(hours=1)
    nora.shop.jobs.run_due()
    assert nora.plan() == ("pro", "active") and nora.monthly() == 10_100 and otto.monthly() == 100
    assert nora.shop.events("google")["subscription"] == ("done", None)
    nora.shop.check_books()


def test_one_that_names_another_account_is_not_there(nora: Member) -> None:
    otto = Member(nora.shop, nora.shop.host.open("otto"))
    token = nora.subscribe()
    assert_problem(nora.shop.post_google(token, "pro", otto.path), 404, "NOT-FOUND")
    stranger = nora.play.subscribe("a token of nobody's")
    assert_problem(nora.shop.post_google(stranger, "pro", otto.path), 404, "NOT-FOUND")
    assert (nora.monthly(), otto.monthly()) == (100, 100)


def test_of_many_who_show_one_at_once_one_has_it_once(nora: Member) -> None:
    paths = [nora.path, nora.path, *(nora.shop.host.open(f"acc{n}") for n in range(3))]
    for _ in range(2):
        token = nora.play.subscribe(None)
        with ThreadPoolExecutor(6) as pool:
            pushed = pool.submit(nora.hear, "purchased", token)
            shown = [pool.submit(nora.shop.post_google, token, "pro", path) for path in paths]
            answers = [each.result() for each in shown]
            pushed.result()
        won = {answer.json()["id"] for answer in answers if answer.status_code == 200}
        assert len(won) == 1 and {answer.status_code for answer in answers} == {200, 404}
    nora.shop.host.wait(hours=1)
    nora.shop.jobs.run_due()
    held = [nora.shop.host.buckets(path)["monthly"] for path in dict.fromkeys(paths)]
    assert sum(held) == 4 * 100 + 2 * 10_000
    assert sorted(nora.play.acknowledged) == sorted(nora.play.subscriptions)
    nora.shop.check_books()


def test_what_is_not_paid_not_sold_or_of_another_product_is_refused(nora: Member) -> None:
    pending = nora.subscribe(state="PENDING")
    assert_problem(nora.shop.post_google(pending, "pro", nora.path), 400, "INVALID", field="purchaseToken")
    token = nora.subscribe()
    assert_problem(nora.shop.post_google(token, "base", nora.path), 400, "INVALID", field="productId")
    assert_problem(nora.shop.post_google("made-up", "pro", nora.path), 400, "INVALID", field="purchaseToken")
    unsold = nora.subscribe("pro", "week")
    assert_problem(nora.shop.post_google(unsold, "pro", nora.path), 400, "INVALID", field="productId")
    nora.shop.google.trouble["subscriptionsv2"] = [503]
    assert_problem(nora.shop.post_google(token, "pro", nora.path), 503, "UNAVAILABLE")
    assert nora.statuses() == [] and nora.plan() == ("free", "active")


def test_a_trial_is_answered_as_a_payment_of_nothing(nora: Member) -> None:
    token = nora.subscribe(trial=7)
    shown = nora.shop.post_google(token, "pro", nora.path).json()
    assert (shown["status"], shown["amountMinor"], shown["creditsGranted"]) == ("completed", 0, "0")
    assert nora.now()["status"] == "trialing" and nora.statuses() == []


def test_a_transaction_that_the_app_shows_opens_a_subscription_and_overrules_nothing(ada: AppleMember) -> None:
    world = ada.shop.apple.world
    first = ada.pay(0)
    world.transactions[first].pop("appAccountToken")
    assert ada.shop.post_apple(world.signed(first), ada.path).json()["creditsGranted"] == "10000"
    assert (ada.now()["plan"], ada.monthly()) == ("pro", 10_100)
    ada.hear("DID_CHANGE_RENEWAL_STATUS.AUTO_RENEW_DISABLED", first, 1, renews=0)
    assert ada.now()["cancelAtPeriodEnd"] is True
    assert ada.shop.post_apple(world.signed(first), ada.path).status_code == 200
    assert ada.now()["cancelAtPeriodEnd"] is True, "a transaction says nothing of what follows"
    other = ada.shop.host.open("otto")
    assert_problem(ada.shop.post_apple(world.signed(first), other), 404, "NOT-FOUND")
    assert ada.monthly() == 10_100
    ada.shop.check_books()


def test_a_transaction_restored_after_its_end_leaves_nothing_to_spend(ada: AppleMember) -> None:
    """Its month was paid and never granted here: it is granted, and over in the same moment."""
    first = ada.pay(0)
    ada.wait_until(period_start(DAY_0, 1) + timedelta(days=3))
    shown = ada.shop.post_apple(ada.shop.apple.world.signed(first), ada.path).json()
    assert (shown["status"], shown["creditsGranted"]) == ("completed", "10000")
    assert (ada.now()["plan"], ada.monthly()) == ("free", 100)
    ada.shop.check_books()


def test_a_transaction_of_an_unsold_plan_or_of_a_relative_is_refused(ada: AppleMember) -> None:
    world = ada.shop.apple.world
    unsold = world.signed(ada.pay(0, "com.alphio.strange"))
    assert_problem(ada.shop.post_apple(unsold, ada.path), 400, "INVALID", field="productId")
    shared = world.signed(ada.pay(0, PRO, inAppOwnershipType="FAMILY_SHARED"))
    assert_problem(ada.shop.post_apple(shared, ada.path), 400, "INVALID", field="signedTransaction")
    assert ada.now()["plan"] == "free"
