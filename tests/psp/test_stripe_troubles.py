"""A no is told from an outage, nothing is done twice however the network fails, and no error tells a secret."""

import socket
import traceback
from collections.abc import Callable

import pytest
import stripe

from engine.payments import Checkout, CheckoutRequest, ProviderFact, ProviderRefused, ProviderUnreachable, RefundRequest
from engine.rules.money import Money
from psp.stripe import Stripe
from tests.psp.fake_stripe import FakeStripe
from tests.psp.stripe_orders import a_paid_order, a_rail, an_order, last_event, sent, told_fact

TRIES = 3


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK waits half a second before it tries again, then longer; here a hundredth."""
    monkeypatch.setattr(stripe.HTTPClient, "INITIAL_DELAY", 0.01)


def posts(fake: FakeStripe) -> list[str | None]:
    """The idempotency keys of the POSTs that arrived, in order."""
    return [request.idempotency_key for request in fake.requests if request.method == "POST"]


def refusal(rail: Stripe, request: CheckoutRequest | None = None) -> ProviderRefused:
    with pytest.raises(ProviderRefused) as refused:
        rail.start_checkout(request or an_order())
    return refused.value


def refund_request(payment_id: str, reversal_id: str = "rev_1") -> RefundRequest:
    return RefundRequest("mira", "pay_1", reversal_id, payment_id, Money(1000, "USD"), f"refund:{reversal_id}")


def before_the_refund_itself(fake: FakeStripe) -> None:
    """Let pass the three requests that look at the payment, its price and its refunds."""
    fake.hang(0.001, times=3)


# Troubles that pass


@pytest.mark.parametrize("status", [500, 502, 503, 409])
def test_a_trouble_that_passes_is_not_noticed(fake: FakeStripe, rail: Stripe, status: int) -> None:
    fake.fail(status, times=2)
    checkout = rail.start_checkout(an_order())
    assert posts(fake) == ["checkout:pay_1"] * TRIES
    assert [s["id"] for s in fake.every("checkout.session")] == [checkout.session_id]


def test_a_dropped_connection_is_tried_again_with_the_same_key(fake: FakeStripe, rail: Stripe) -> None:
    fake.drop(times=2)
    rail.start_checkout(an_order())
    assert posts(fake) == ["checkout:pay_1"] * TRIES


def test_a_session_made_as_the_connection_dropped_is_the_session(fake: FakeStripe, rail: Stripe) -> None:
    fake.drop(executed=True)
    checkout = rail.start_checkout(an_order())
    assert [s["id"] for s in fake.every("checkout.session")] == [checkout.session_id]


def test_a_request_that_hangs_once_is_tried_again_and_done_once(fake: FakeStripe) -> None:
    fake.hang(5)
    rail = a_rail(fake, timeout_seconds=0.2)
    checkout = rail.start_checkout(an_order())
    assert [s["id"] for s in fake.every("checkout.session")] == [checkout.session_id]


def test_a_fetch_is_tried_again_too(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    fake.fail(500, times=2)
    assert told_fact(fake, rail, "checkout.session.completed").object_id == payment_id


# Troubles that stay


def failing(status: int, times: int, code: str | None = None) -> Callable[[FakeStripe], None]:
    return lambda fake: fake.fail(status, times=times, code=code)


@pytest.mark.parametrize(
    ("trouble", "tries"),
    [
        pytest.param(failing(500, TRIES), TRIES, id="500"),
        pytest.param(failing(503, TRIES), TRIES, id="503"),
        pytest.param(failing(409, TRIES, "idempotency_key_in_use"), TRIES, id="key in use"),
        pytest.param(failing(429, 1, "rate_limit"), 1, id="429"),
        pytest.param(failing(401, 1), 1, id="401"),
        pytest.param(failing(403, 1), 1, id="403"),
        pytest.param(lambda fake: fake.drop(times=TRIES), TRIES, id="dropped"),
        pytest.param(lambda fake: fake.hang(5, times=TRIES), TRIES, id="hanging"),
    ],
)
def test_what_may_yet_be_done_is_unreachable_for_every_call(
    fake: FakeStripe, rail: Stripe, trouble: Callable[[FakeStripe], None], tries: int
) -> None:
    payment_id = a_paid_order(fake, rail)
    event = sent(fake, last_event(fake, "checkout.session.completed"), rail)
    session_id = last_event(fake, "checkout.session.completed")["data"]["object"]["id"]
    hasty = a_rail(fake, timeout_seconds=0.2)
    calls: list[Callable[[], Checkout | tuple[ProviderFact, ...]]] = [
        lambda: hasty.start_checkout(an_order("pay_2")),
        lambda: hasty.refund(refund_request(payment_id)),
        lambda: hasty.facts(event),
        lambda: hasty.payment(session_id),
    ]
    for call in calls:
        trouble(fake)
        before = len(fake.requests)
        with pytest.raises(ProviderUnreachable):
            call()
        assert len(fake.requests) - before == tries


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        rail = Stripe("sk_test_fake", ["whsec_fake"], api_base=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ProviderUnreachable):
            rail.start_checkout(an_order())


def test_a_session_made_unseen_is_found_by_asking_again(fake: FakeStripe) -> None:
    fake.hang(5, times=TRIES)
    with pytest.raises(ProviderUnreachable):
        a_rail(fake, timeout_seconds=0.2).start_checkout(an_order())
    checkout = a_rail(fake).start_checkout(an_order())
    assert [s["id"] for s in fake.every("checkout.session")] == [checkout.session_id]


@pytest.mark.parametrize("is_key_forgotten", [False, True])
def test_a_refund_made_unseen_is_found_by_asking_again(fake: FakeStripe, rail: Stripe, is_key_forgotten: bool) -> None:
    """Stripe keeps the 500 it answered under the key, so only the payment's own refunds tell what was done."""
    payment_id = a_paid_order(fake, rail)
    before_the_refund_itself(fake)
    fake.fail(500, executed=True)
    with pytest.raises(ProviderUnreachable):
        rail.refund(refund_request(payment_id))
    if is_key_forgotten:
        fake.forget_keys()
    (fact,) = rail.refund(refund_request(payment_id))
    assert fact.own_reference == "rev_1"
    assert [refund["id"] for refund in fake.every("refund")] == [fact.object_id]


def test_an_event_can_be_told_once_the_trouble_is_over(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    fake.fail(500, times=TRIES)
    with pytest.raises(ProviderUnreachable):
        told_fact(fake, rail, "checkout.session.completed")
    assert told_fact(fake, rail, "checkout.session.completed").object_id == payment_id


# What is refused for good


@pytest.mark.parametrize(
    ("status", "code"), [(400, "parameter_invalid_integer"), (402, "card_declined"), (404, "resource_missing")]
)
def test_a_no_is_a_no_at_once_in_stripes_words(fake: FakeStripe, rail: Stripe, status: int, code: str) -> None:
    fake.fail(status, code=code)
    refused = refusal(rail)
    assert (refused.code, refused.detail) == (code, f"Trouble: HTTP {status}.")
    assert len(fake.requests) == 1


def test_a_no_without_a_code_is_called_by_its_status(fake: FakeStripe, rail: Stripe) -> None:
    fake.fail(400)
    assert refusal(rail).code == "http_400"


def test_an_amount_stripe_does_not_take_is_refused(rail: Stripe) -> None:
    assert refusal(rail, an_order(amount=Money(49, "USD"))).code == "amount_too_small"


def test_a_refund_that_is_refused_is_not_made(fake: FakeStripe, rail: Stripe) -> None:
    payment_id = a_paid_order(fake, rail)
    before_the_refund_itself(fake)
    fake.fail(400, code="charge_disputed")
    with pytest.raises(ProviderRefused, match="charge_disputed"):
        rail.refund(refund_request(payment_id))
    assert fake.every("refund") == []


@pytest.mark.parametrize("event_type", ["checkout.session.completed", "refund.created", "charge.dispute.created"])
def test_an_object_stripe_does_not_know_is_refused(fake: FakeStripe, rail: Stripe, event_type: str) -> None:
    told = {"id": "evt_1", "object": "event", "type": event_type, "data": {"object": {"id": "xx_elsewhere"}}}
    with pytest.raises(ProviderRefused) as refused:
        rail.facts(sent(fake, told, rail))
    assert refused.value.code == "resource_missing"


def test_a_key_that_named_other_parameters_is_never_taken_for_a_no(fake: FakeStripe, rail: Stripe) -> None:
    """Something was done under that key: giving credits back for a refund that happened would lose them."""
    checkout = rail.start_checkout(an_order())
    with pytest.raises(ProviderUnreachable, match="same parameters"):
        rail.start_checkout(an_order(amount=Money(9900, "USD")))
    assert [s["id"] for s in fake.every("checkout.session")] == [checkout.session_id]


# What an error tells


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 429, 500])
def test_no_error_tells_a_secret(fake: FakeStripe, rail: Stripe, status: int) -> None:
    fake.fail(status, times=TRIES)
    with pytest.raises((ProviderRefused, ProviderUnreachable)) as caught:
        rail.start_checkout(an_order())
    assert_tells_nothing(fake, caught.value)


def test_no_network_error_tells_a_secret(fake: FakeStripe, rail: Stripe) -> None:
    fake.drop(times=TRIES)
    with pytest.raises(ProviderUnreachable) as caught:
        rail.start_checkout(an_order())
    assert_tells_nothing(fake, caught.value)


def test_a_wrong_key_is_the_operators_to_mend_and_is_not_told(fake: FakeStripe) -> None:
    rail = Stripe("sk_test_mistyped", [fake.webhook_secret], api_base=fake.base_url)
    with pytest.raises(ProviderUnreachable, match="HTTP 401") as caught:
        rail.start_checkout(an_order())
    assert "sk_test_mistyped" not in whole_text(caught.value)


def whole_text(error: BaseException) -> str:
    """An error as a log would show it, with its causes and all they carry."""
    causes = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(repr(vars(cause)))
        cause = cause.__cause__ or cause.__context__
    return "".join(traceback.format_exception(error)) + str(error) + repr(error) + "".join(causes)


def assert_tells_nothing(fake: FakeStripe, error: BaseException) -> None:
    text = whole_text(error)
    assert "psp/stripe.py" in text
    assert fake.secret_key not in text and fake.webhook_secret not in text
