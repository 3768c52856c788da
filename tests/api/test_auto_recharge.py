"""Saved cards, auto-recharge and commit plans over HTTP, by who may and in the contract's words."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from httpx import Response

from engine.flows import receive
from engine.jobs import Jobs
from engine.payments import Card, Event
from tests.api.host import Host, assert_problem
from tests.flows.cards import USD, CardBook


@pytest.fixture
def catalog() -> str:
    return "ecolink"


@pytest.fixture
def bank(host: Host) -> CardBook:
    """A rail that keeps cards."""
    made = CardBook()
    host.runtime.providers["stripe"] = made  # type: ignore[index]
    return made


def put(host: Host, path: str, body: object, bearer: str | None = None) -> Response:
    headers = {"Authorization": f"Bearer {bearer or host.service_key}"}
    return host.client.put(path, json=body, headers=headers)


def delete(host: Host, path: str, bearer: str | None = None) -> Response:
    return host.client.delete(path, headers={"Authorization": f"Bearer {bearer or host.service_key}"})


def pay(host: Host, bank: CardBook, purchase_id: str, *, saves: str | None = None) -> None:
    """The provider's word that a checkout was paid, carried out."""
    request = bank.requests[f"cs_{purchase_id}"]
    fact = bank.say("payment", f"pi_{purchase_id}", "paid", request.amount.minor, request=request)
    if saves is not None:
        assert request.customer_id is not None
        fact = replace(fact, card=Card(saves, request.customer_id, "visa", "4242", 8, 2030))
    event = Event(f"evt_{purchase_id}", "payment.paid", msgspec.json.encode(fact))
    assert receive.store(host.runtime, bank, event, host.clock.now())
    Jobs(host.runtime).run_due()


def saved(host: Host, bank: CardBook, path: str, reference: str = "pm_1") -> dict[str, Any]:
    """A $20 checkout that saves its card; the card as listed."""
    answer = host.post(f"{path}/checkout", {"amountUsdCents": 2_000, "saveCard": True})
    assert answer.status_code == 201, answer.text
    pay(host, bank, answer.json()["purchaseId"], saves=reference)
    listed = host.get(f"{path}/payment-methods").json()["paymentMethods"]
    return dict(listed[-1] if len(listed) == 1 else listed[1])


def test_a_saved_card_is_listed_with_what_may_be_known_of_it(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    page = {"page": 1, "limit": 20, "total": 0}
    assert host.get(f"{path}/payment-methods").json() == {"paymentMethods": [], "pagination": page}
    card = saved(host, bank, path)
    assert card == {
        "id": card["id"],
        "provider": "stripe",
        "brand": "visa",
        "last4": "4242",
        "expMonth": 8,
        "expYear": 2030,
        "isDefault": True,
    }


def test_another_card_becomes_the_default_and_a_removed_one_is_gone(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    first, second = saved(host, bank, path), saved(host, bank, path, "pm_2")
    answer = put(host, f"{path}/payment-methods/{second['id']}", {"default": True})
    assert (answer.status_code, answer.json()["isDefault"]) == (200, True)
    assert_problem(put(host, f"{path}/payment-methods/{second['id']}", {"default": False}), 400, "INVALID")
    gone = delete(host, f"{path}/payment-methods/{second['id']}")
    assert (gone.status_code, gone.content) == (204, b"")
    (left,) = host.get(f"{path}/payment-methods").json()["paymentMethods"]
    assert (left["id"], left["isDefault"]) == (first["id"], True)
    assert_problem(delete(host, f"{path}/payment-methods/{second['id']}"), 404, "NOT-FOUND")
    beyond = host.get(f"{path}/payment-methods", page=2).json()
    assert beyond == {"paymentMethods": [], "pagination": {"page": 2, "limit": 20, "total": 1}}
    other = host.open("acc_2")
    assert_problem(delete(host, f"{other}/payment-methods/{first['id']}"), 404, "NOT-FOUND")


def test_the_portal_is_the_providers_own(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    assert host.post(f"{path}/provider-portal", key=None).json() == {"url": "https://portal.example/cus_acc_1"}
    assert_problem(host.post(f"{path}/provider-portal", {"return": 1}, key=None), 400, "INVALID", field="return")
    assert_problem(host.post_raw(f"{path}/provider-portal", b"not JSON"), 400, "INVALID", field="body")
    bank.is_down = True
    assert_problem(host.post(f"{path}/provider-portal", key=None), 503, "UNAVAILABLE")


def test_auto_recharge_is_off_until_its_customer_says_so_and_put_merges(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    off = {
        "enabled": False,
        "thresholdCredits": None,
        "amountMinor": None,
        "paymentMethodId": None,
        "monthlyCapMinor": None,
        "currency": "USD",
    }
    assert host.get(f"{path}/auto-recharge").json() == off
    card = saved(host, bank, path)
    first = put(host, f"{path}/auto-recharge", {"thresholdCredits": str(5 * USD), "amountMinor": 1_000})
    assert first.json() == off | {"thresholdCredits": "5000000", "amountMinor": 1_000}
    body = {"enabled": True, "paymentMethodId": card["id"], "monthlyCapMinor": 5_000}
    on = put(host, f"{path}/auto-recharge", body).json()
    assert on == first.json() | body
    assert host.get(f"{path}/auto-recharge").json() == on == put(host, f"{path}/auto-recharge", on).json()
    assert_problem(put(host, f"{path}/auto-recharge", {"currency": "EUR"}), 400, "INVALID", field="currency")
    assert put(host, f"{path}/auto-recharge", {"monthlyCapMinor": None}).json() == on | {"monthlyCapMinor": None}


def test_a_spend_below_the_threshold_charges_the_card_and_the_decisions_say_why(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    card = saved(host, bank, path)
    body = {"enabled": True, "thresholdCredits": 5 * USD, "amountMinor": 1_000, "paymentMethodId": card["id"]}
    assert put(host, f"{path}/auto-recharge", body).status_code == 200
    host.wait(minutes=1)
    assert host.spend(path, 15 * USD).status_code == 201
    Jobs(host.runtime).run_due()
    assert host.balance(path)["balanceCredits"] == str(15 * USD)
    (row,) = host.get(f"{path}/transactions", type="auto_recharge").json()["transactions"]
    assert (row["source"], row["amountCredits"]) == ("auto_recharge", str(10 * USD))
    answer = host.get(f"{path}/auto-recharge/decisions").json()
    assert answer["pagination"] == {"page": 1, "limit": 20, "total": 1}
    (decision,) = answer["decisions"]
    payment = host.get(f"{path}/payments").json()["payments"][0]
    assert (decision["fired"], decision["reason"]) == (True, "at_or_below_threshold")
    assert (decision["availableCredits"], decision["purchaseId"]) == (str(5 * USD), payment["id"])
    assert (payment["status"], payment["amountMinor"]) == ("completed", 1_000)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"enabled": True}, "thresholdCredits"),
        ({"amountMinor": 1}, "amountMinor"),
        ({"amountMinor": "1000"}, "amountMinor"),
        ({"thresholdCredits": str(10_001 * USD)}, "thresholdCredits"),
        ({"thresholdCredits": -1}, "thresholdCredits"),
        ({"paymentMethodId": "card_nobodys"}, "paymentMethodId"),
        ({"monthlyCapMinor": 0}, "monthlyCapMinor"),
        ({"treshold": 1}, "treshold"),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(
    host: Host, bank: CardBook, body: dict[str, object], field: str
) -> None:
    path = host.open("acc_1")
    assert_problem(put(host, f"{path}/auto-recharge", body), 400, "INVALID", field=field)


def test_an_accounts_own_key_reads_and_changes_nothing(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    card = saved(host, bank, path)
    key = host.new_key("account", "acc_1")
    for what in ("auto-recharge", "auto-recharge/decisions", "payment-methods"):
        assert host.get(f"/v1/billing/{what}", bearer=key).status_code == 200
    assert_problem(put(host, "/v1/billing/auto-recharge", {"enabled": False}, key), 403, "AUTH-002")
    assert_problem(delete(host, f"/v1/billing/payment-methods/{card['id']}", key), 403, "AUTH-002")
    assert_problem(host.post("/v1/billing/provider-portal", key=None, bearer=key), 403, "AUTH-002")


def test_a_commit_plan_is_paid_upfront_and_names_no_amount(host: Host, bank: CardBook) -> None:
    path = host.open("acc_1")
    answer = host.post(f"{path}/checkout", {"commitPlan": "commit-3"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["creditsToReceive"] == str(315 * USD)
    pay(host, bank, answer.json()["purchaseId"])
    (row,) = host.get(f"{path}/transactions", type="commit_credit").json()["transactions"]
    assert (row["source"], row["referenceType"], row["referenceId"]) == ("commit", "commit_plan", "commit-3")
    assert row["amountCredits"] == str(300 * USD)
    both = {"commitPlan": "commit-3", "amountUsdCents": 2_000}
    assert_problem(host.post(f"{path}/checkout", both), 400, "BILLING-003")
    assert_problem(host.post(f"{path}/checkout", {"commitPlan": "nine"}), 400, "INVALID", field="commitPlan")
    replayed = [host.post(f"{path}/checkout", {"commitPlan": "commit-6"}, key="once") for _ in range(2)]
    assert replayed[0].json() == replayed[1].json()
    assert_problem(host.post(f"{path}/checkout", {"commitPlan": "commit-12"}, key="once"), 422, "IDEMPOTENCY-002")


class TestWithoutIt:
    """A catalogue that offers neither."""

    @pytest.fixture
    def catalog(self) -> str:
        return "acn"

    def test_there_is_no_auto_recharge_and_no_card_is_saved(self, host: Host, bank: CardBook) -> None:
        path = host.open("acc_1")
        assert_problem(host.get(f"{path}/auto-recharge"), 404, "ACN-NOT-FOUND")
        assert_problem(put(host, f"{path}/auto-recharge", {"enabled": False}), 404, "ACN-NOT-FOUND")
        assert host.post(f"{path}/checkout", {"amountUsdCents": 2_000, "saveCard": True}).status_code == 201
        assert [request.save_card for request in bank.requests.values()] == [False]
        assert host.get(f"{path}/payment-methods").json()["paymentMethods"] == []
