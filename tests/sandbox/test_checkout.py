"""The hosted page over real HTTP: what each button does to the payment, and which webhooks say so."""

from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from engine.clock import monotonic
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.rules.money import Money
from engine.store.database import Database
from psp.sandbox import Sandbox
from tests.sandbox.support import SHOP, World, running

PAID = ["payment.processing", "payment.succeeded", "session.completed"]

BUTTONS = """
pay               paid       2500  success  PAID
pay-twice         paid       2500  success  payment.processing payment.succeeded payment.succeeded session.completed
pay-shuffled      paid       2500  success  payment.succeeded session.completed payment.processing
pay-wrong-amount  paid       1250  success  PAID
challenge         paid       2500  success  payment.requires_action PAID
decline           failed     2500  cancel   payment.failed
cancel            cancelled  2500  cancel   session.cancelled
expire            expired    2500  cancel   session.expired
"""


@pytest.fixture
def world(sqlite: Database) -> Iterator[World]:
    with running(sqlite) as started:
        yield started
        assert started.receiver.refused == []


@pytest.mark.parametrize("line", BUTTONS.strip().splitlines(), ids=lambda line: line.split()[0])
def test_a_button_changes_the_payment_and_tells_it_before_it_answers(world: World, line: str) -> None:
    action, state, amount, landing, *types = line.replace("PAID", " ".join(PAID)).split()
    session_id = world.start()
    answer = world.press(session_id, action)
    assert world.receiver.types == types
    assert world.settled[-1] == len(types), "it also waits for what the webhooks gave rise to"
    assert answer.status_code == 303
    query = parse_qs(urlsplit(answer.headers["location"]).query)
    assert query["status"] == (["success"] if landing == "success" else ["cancelled"])
    assert query.get("session_id") == ([session_id] if landing == "success" else None)
    for event in world.receiver.events:
        fact = world.fact_of(event)
        assert (fact.state, fact.amount, fact.purchase_id) == (state, Money(int(amount), "USD"), "pay_1")
    assert world.payment(session_id) == fact


def test_pay_twice_is_the_very_same_event(world: World) -> None:
    world.press(world.start(), "pay-twice")
    succeeded = [event.event_id for event in world.receiver.events if event.type == "payment.succeeded"]
    assert len(succeeded) == 2 and len(set(succeeded)) == 1


def test_pay_late_answers_at_once_and_tells_later(world: World) -> None:
    session_id = world.start()
    begun = monotonic()
    assert world.press(session_id, "pay-late").status_code == 303
    assert world.receiver.types == [] and monotonic() - begun < 0.3
    assert world.payment(session_id).state == "processing"
    assert world.receiver.wait_for(3) == PAID
    assert monotonic() - begun >= 0.3
    assert world.payment(session_id).state == "paid"


@pytest.mark.parametrize("before", ["expire", "decline", "time"])
def test_pay_late_arrives_though_the_session_ended_meanwhile(world: World, before: str) -> None:
    session_id = world.start()
    if before == "time":
        world.clock.advance(timedelta(minutes=31))
        assert world.payment(session_id).state == "expired"
    else:
        world.press(session_id, before)
        world.receiver.events.clear()
    older = world.payment(session_id).version
    world.press(session_id, "pay-late")
    assert world.receiver.wait_for(3) == PAID
    assert world.payment(session_id).state == "paid" and world.payment(session_id).version > older


def test_a_late_payment_on_its_way_survives_a_restart(sqlite: Database) -> None:
    with running(sqlite, late_seconds=600) as world:
        session_id = world.start()
        world.press(session_id, "pay-late")
    with running(sqlite, late_seconds=0) as again:
        assert again.receiver.wait_for(3) == PAID
        assert again.payment(session_id).state == "paid"


def test_a_person_is_asked_for_3d_secure_before_anything_is_paid(world: World) -> None:
    session_id = world.start()
    asked = world.press(session_id, "challenge", step="ask")
    assert asked.status_code == 303 and asked.headers["location"].endswith(f"{session_id}/challenge")
    assert world.receiver.types == ["payment.requires_action"]
    assert world.payment(session_id).state == "open"
    shown = world.browser.get(asked.headers["location"]).text
    assert f"{session_id}/pay" in shown and "$25.00" in shown
    world.press(session_id, "pay")
    assert world.receiver.types == ["payment.requires_action", *PAID]


def test_a_declined_card_may_be_tried_again(world: World) -> None:
    session_id = world.start()
    world.press(session_id, "decline")
    page = world.browser.get(f"/sandbox/checkout/{session_id}").text
    assert "declined" in page and f"{session_id}/pay" in page
    world.press(session_id, "pay")
    assert world.receiver.types == ["payment.failed", *PAID]


@pytest.mark.parametrize("second", ["pay", "pay-late", "decline", "cancel", "expire", "challenge"])
def test_nothing_happens_to_a_paid_session_any_more(world: World, second: str) -> None:
    session_id = world.start()
    world.press(session_id, "pay")
    before = world.payment(session_id)
    answer = world.press(session_id, second)
    assert (answer.status_code, answer.json()["code"]) == (409, "session_paid")
    assert world.payment(session_id) == before and world.receiver.types == PAID


@pytest.mark.parametrize("ending", ["cancel", "expire"])
def test_a_session_that_ended_cannot_be_paid(world: World, ending: str) -> None:
    session_id = world.start()
    world.press(session_id, ending)
    answer = world.browser.post(f"/sandbox/checkout/{session_id}/pay", headers={"accept": "text/html"})
    assert answer.status_code == 409 and "Nothing was charged" in answer.text
    assert world.payment(session_id).state in ("cancelled", "expired")


def test_time_ends_a_session(world: World) -> None:
    session_id = world.start()
    world.clock.advance(timedelta(minutes=29, seconds=50))
    assert world.payment(session_id).state == "open"
    world.clock.advance(timedelta(seconds=11))
    world.server.expire_over()
    assert world.receiver.wait_for(1) == ["session.expired"]
    assert world.press(session_id, "pay").json()["code"] == "session_expired"
    page = world.browser.get(f"/sandbox/checkout/{session_id}").text
    assert "has expired" in page and f"{session_id}/pay-late" in page and f'{session_id}/pay"' not in page


@pytest.mark.parametrize("path", ["/nobody", "/nobody/pay"])
def test_an_unknown_session_is_not_found(world: World, path: str) -> None:
    answer = world.browser.request("GET" if path == "/nobody" else "POST", f"/sandbox/checkout{path}")
    assert answer.status_code == 404


def test_an_unknown_action_is_not_found(world: World) -> None:
    session_id = world.start()
    assert world.press(session_id, "pay-everything").status_code == 404
    assert world.payment(session_id).state == "open"


def test_the_page_has_a_button_for_each_action_and_loads_nothing_from_elsewhere(world: World) -> None:
    session_id = world.start()
    answer = world.browser.get(f"/sandbox/checkout/{session_id}")
    for action in "pay decline challenge cancel pay-late pay-twice pay-shuffled pay-wrong-amount expire".split():
        assert f'<form method="post" action="{world.base_url}/sandbox/checkout/{session_id}/{action}"' in answer.text
    assert "no real money" in answer.text and "$25.00" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and f"form-action 'self' {SHOP.removesuffix('/shop')}" in policy
    assert "<script" not in answer.text and " style=" not in answer.text
    assert world.browser.get("/demo/static/demo.css").headers["content-type"].startswith("text/css")


def test_what_is_shown_is_escaped(world: World) -> None:
    order = world.order()
    hostile = type(order)(**{f: getattr(order, f) for f in order.__dataclass_fields__} | {"description": "<script>x"})
    session_id = world.provider.start_checkout(hostile).session_id
    assert "&lt;script&gt;x" in world.browser.get(f"/sandbox/checkout/{session_id}").text


def test_the_same_order_makes_one_session(world: World) -> None:
    first = world.provider.start_checkout(world.order())
    assert first.url == f"{world.base_url}/sandbox/checkout/{first.session_id}"
    order = world.order()
    again = type(order)(**{f: getattr(order, f) for f in order.__dataclass_fields__} | {"expires_at": first.expires_at})
    assert world.provider.start_checkout(again) == first
    with pytest.raises(ProviderRefused, match="idempotency_mismatch"):
        world.provider.start_checkout(world.order(amount_minor=9_900))


def test_a_webhook_that_is_not_taken_is_sent_again(world: World) -> None:
    world.receiver.failures_left = 1
    session_id = world.start()
    begun = monotonic()
    world.press(session_id, "decline")
    assert world.receiver.types == ["payment.failed"] and monotonic() - begun >= 0.4


def test_a_webhook_nobody_takes_does_not_hold_the_customer_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.sandbox_server.PATIENCE_SECONDS", 0.2)
    world.receiver.failures_left = 1_000
    assert world.press(world.start(), "pay").status_code == 303
    assert world.receiver.types == []


def test_the_api_asks_for_its_key(world: World) -> None:
    session_id = world.start()
    for key in ("", "Bearer", "Bearer wrong", "Bearer \xe9"):
        headers = [(b"authorization", key.encode("latin-1"))] if key else []
        answer = world.browser.get(f"/sandbox/api/sessions/{session_id}/payment", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")
    stranger = Sandbox(world.base_url, "wrong", "secret")
    with pytest.raises(ProviderRefused, match="key_invalid"):
        stranger.payment(session_id)
    stranger.close()


def test_an_object_that_does_not_exist_is_refused(world: World) -> None:
    with pytest.raises(ProviderRefused, match="session_unknown"):
        world.provider.payment("sbxcs_nobody")


def test_a_provider_that_does_not_answer_is_unreachable() -> None:
    with pytest.raises(ProviderUnreachable):
        Sandbox("http://127.0.0.1:9", "key", "secret").payment("sbxcs_1")


def test_an_answer_that_cannot_be_read_is_unreachable(world: World) -> None:
    elsewhere = Sandbox(f"{world.base_url}/demo/static/demo.css?", "key", "secret")
    with pytest.raises(ProviderUnreachable):
        elsewhere.payment("sbxcs_1")
    elsewhere.close()
