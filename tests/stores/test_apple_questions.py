"""Apple asks before it refunds: the exact share is told, once the customer agreed to it, and nothing otherwise."""

import pytest

from engine.audit import audit
from tests.api.host import assert_problem
from tests.stores.shop import Shop


def consent(shop: Shop, given: bool = True) -> None:
    client, path = shop.host.client, f"{shop.mira}/purchases/store-consent"
    headers = {"Authorization": f"Bearer {shop.host.service_key}"}
    answer = client.put(path, json={"consumptionConsent": given}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"consumptionConsent": given}), answer.text
    assert shop.host.get(path).json() == {"consumptionConsent": given}


def bought(shop: Shop, **more: object) -> str:
    number = shop.apple.world.buy(shop.token(), **more)  # type: ignore[arg-type]
    assert shop.post_apple(shop.apple.world.signed(number)).status_code == 200
    return number


def asked(shop: Shop, number: str) -> None:
    body = shop.apple.world.notify("CONSUMPTION_REQUEST", number, consumptionRequestReason="UNINTENDED_PURCHASE")
    shop.notify_apple(body)


@pytest.mark.parametrize(
    ("spent", "share", "preference"),
    [
        (0, 0, "GRANT_FULL"),
        (1, 100, "GRANT_PRORATED"),
        (333, 33_300, "GRANT_PRORATED"),
        (1_000, 100_000, "DECLINE"),
    ],
)
def test_the_spent_share_is_told_exactly(shop: Shop, spent: int, share: int, preference: str) -> None:
    consent(shop)
    number = bought(shop)
    if spent:
        assert shop.host.spend(shop.mira, spent).status_code == 201
    asked(shop, number)
    told = {
        "customerConsented": True,
        "sampleContentProvided": True,
        "deliveryStatus": "DELIVERED",
        "consumptionPercentage": share,
        "refundPreference": preference,
    }
    assert shop.apple.consumption == [(number, told)]
    assert shop.events("apple")["CONSUMPTION_REQUEST"] == ("done", None)


def test_a_share_that_is_no_whole_number_is_rounded_down(shop: Shop) -> None:
    consent(shop)
    number = bought(shop, quantity=3)
    shop.host.spend(shop.mira, 1)
    asked(shop, number)
    assert shop.apple.consumption[0][1]["consumptionPercentage"] == 33


def test_what_is_held_counts_as_used_and_other_credits_do_not(shop: Shop) -> None:
    consent(shop)
    number = bought(shop)
    other = bought(shop)
    held = shop.host.post(f"{shop.mira}/holds", {"amountCredits": "250"})
    assert held.status_code == 201, held.text
    asked(shop, number)
    asked(shop, other)
    assert [told["consumptionPercentage"] for _, told in shop.apple.consumption] == [25_000, 0]


def test_what_an_earlier_refund_took_was_not_used(shop: Shop) -> None:
    consent(shop)
    number = bought(shop)
    shop.host.spend(shop.mira, 100)
    shop.apple.world.refund(number, 50_000)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    asked(shop, number)
    assert shop.apple.consumption[0][1]["consumptionPercentage"] == 10_000


def test_without_consent_nothing_is_sent(shop: Shop) -> None:
    number = bought(shop)
    asked(shop, number)
    assert shop.apple.consumption == []
    assert not any(method == "PUT" for method, _ in shop.apple.requests)
    consent(shop)
    consent(shop, given=False)
    asked(shop, number)
    assert shop.apple.consumption == []


def test_an_answer_that_apple_could_not_take_is_given_again(shop: Shop) -> None:
    consent(shop)
    number = bought(shop)
    shop.apple.trouble = [503]
    asked(shop, number)
    assert shop.apple.consumption == [] and shop.events("apple")["CONSUMPTION_REQUEST"][0] == "stored"
    shop.host.wait(minutes=1)
    shop.jobs.run_due()
    assert len(shop.apple.consumption) == 1
    assert shop.events("apple")["CONSUMPTION_REQUEST"] == ("done", None)


def test_what_was_not_delivered_is_told_as_that(shop: Shop) -> None:
    consent(shop)
    token = shop.token()
    admin = shop.host.new_key("admin")
    shop.host.post("/v1/admin/accounts/mira/close", {"reason": "asked"}, bearer=admin)
    number = shop.apple.world.buy(token)
    asked(shop, number)
    told = shop.apple.consumption[0][1]
    assert (told["deliveryStatus"], told["consumptionPercentage"]) == ("UNDELIVERED_OTHER", 0)


def test_only_the_owner_and_the_host_give_consent(shop: Shop) -> None:
    path = f"{shop.mira}/purchases/store-consent"
    key = shop.host.new_key("account", "mira")
    headers = {"Authorization": f"Bearer {key}"}
    answer = shop.host.client.put(path, json={"consumptionConsent": True}, headers=headers)
    assert_problem(answer, 403, "AUTH-002")
    assert shop.host.get(path, bearer=key).json() == {"consumptionConsent": False}
    assert audit(shop.host.runtime.db, shop.host.runtime.secrets.all_for("ledger chain")).is_clean


def test_credits_spent_and_owed_since_were_used(shop: Shop) -> None:
    consent(shop)
    number = bought(shop)
    shop.host.spend(shop.mira, 400)
    shop.apple.world.refund(number)
    shop.notify_apple(shop.apple.world.notify("REFUND", number))
    asked(shop, number)
    assert shop.apple.consumption[0][1]["consumptionPercentage"] == 40_000
