"""What a provider said and could not be carried out waits at the desk: tried again, dismissed, or gone by itself."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
from litestar.testing import TestClient
from prometheus_client import CollectorRegistry, generate_latest

from api.app import create_app
from api.metrics import Meters, collected
from api.pages import desk_queues, staff
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Page, page_route
from api.pages.render import Templates
from engine.audit import audit
from engine.flows import receive
from engine.flows.receive import FAILED_TRIES, PARKED_TRIES
from engine.payments import Event
from engine.store.database import reading, transact
from engine.store.documents import list_documents
from engine.store.tables import ProviderEventRow
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def wait_for(host: Host, desk: Desk, tries: int, hours: int = 7) -> None:
    for _ in range(tries):
        host.wait(hours=hours)
        desk.jobs.run_due()


def event_of(host: Host, event_id: str) -> ProviderEventRow:
    with reading(host.runtime.db) as session:
        row = session.get(ProviderEventRow, ("stripe", event_id))
    assert row is not None
    return row


def gauges(host: Host) -> dict[str, float]:
    told = generate_latest(collected(host.runtime.db, Meters(CollectorRegistry()))).decode()
    rows = (line.rsplit(" ", 1) for line in told.splitlines() if line.startswith("purser_provider_cases{"))
    return {name: float(value) for name, value in rows}


def test_an_object_nobody_knows_waits_for_a_person_and_is_tried_again_at_their_word(
    host: Host, path: str, desk: Desk
) -> None:
    made = host.post(f"{path}/checkout", {"amountUsdCents": 2_000}).json()["purchaseId"]
    fact = desk.provider.say("payment", "pi_later", "paid", 2_000)
    desk.deliver(fact)
    wait_for(host, desk, PARKED_TRIES - 2, hours=19)
    assert desk.queue("review") == []
    wait_for(host, desk, 1, hours=19)
    (item,) = desk.queue("review")
    assert (item["kind"], item["provider"], item["providerReference"], item["description"]) == (
        "event", "stripe", "evt_1", "payment.paid",
    )  # fmt: skip
    assert item["actions"] == ["retry", "dismiss"] and item["problem"] == "no purchase is known for it"
    assert gauges(host) == {'purser_provider_cases{kind="event",provider="stripe"}': 1.0}
    assert_problem(desk.resolve("review", item["id"], "credit"), 400, "INVALID", field="action")
    assert_problem(desk.resolve("quarantined", item["id"], "retry"), 404, "NOT-FOUND")
    again = desk.resolve("review", item["id"], "retry")
    assert (again.status_code, again.json()["status"], desk.queue("review")) == (200, "retrying", [])
    desk.jobs.run_due()
    assert [each["id"] for each in desk.queue("review")] == [item["id"]], "it failed again, so it waits again"
    owned = desk.payment(made, 2_000)
    with_owner = msgspec.json.encode(owned)

    def mend(session: Any) -> None:
        session.get(ProviderEventRow, ("stripe", "evt_1")).payload = with_owner

    transact(host.runtime.db, mend)
    desk.resolve("review", item["id"], "retry", reason="the purchase is there now")
    desk.jobs.run_due()
    assert (desk.queue("review"), event_of(host, "evt_1").status) == ([], "done")
    assert host.balance(path)["balanceCredits"] == "2000"
    assert gauges(host) == {}
    acts = desk.acts()
    assert ("provider:stripe", "case.event") in acts and ("support:Sam", "case.retry") in acts
    assert audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_a_dismissed_event_is_let_go_and_decided_once(host: Host, desk: Desk) -> None:
    desk.deliver(desk.provider.say("payment", "pi_stranger", "paid", 2_000))
    wait_for(host, desk, PARKED_TRIES, hours=19)
    (item,) = desk.queue("review")
    assert event_of(host, "evt_1").status == "parked"
    done = desk.resolve("review", item["id"], "dismiss")
    assert (done.json()["status"], done.json()["decidedBy"], desk.queue("review")) == ("dismissed", "support:Sam", [])
    assert event_of(host, "evt_1").status == "ignored"
    again = desk.resolve("review", item["id"], "dismiss", desk.admin)
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    assert_problem(desk.resolve("review", item["id"], "retry"), 409, "REFUND-003")
    assert_problem(desk.resolve("review", "cas_none", "retry"), 404, "NOT-FOUND")


def test_what_keeps_failing_is_shown_and_still_tried_until_it_works(host: Host, path: str, desk: Desk) -> None:
    made = host.post(f"{path}/checkout", {"amountUsdCents": 2_000}).json()["purchaseId"]
    desk.provider.is_down = True
    desk.deliver(desk.payment(made, 2_000))
    wait_for(host, desk, FAILED_TRIES - 2)
    assert desk.queue("review") == []
    wait_for(host, desk, 1)
    (item,) = desk.queue("review")
    assert (item["kind"], item["problem"]) == ("event", "no answer")
    desk.provider.is_down = False
    wait_for(host, desk, 1)
    assert (desk.queue("review"), host.balance(path)["balanceCredits"]) == ([], "2000")


def test_an_event_of_a_rail_that_was_switched_off_is_kept_until_it_is_on_again(
    host: Host, path: str, desk: Desk
) -> None:
    made = host.post(f"{path}/checkout", {"amountUsdCents": 2_000}).json()["purchaseId"]
    fact = desk.payment(made, 2_000)
    event = Event("evt_kept", "payment.paid", msgspec.json.encode(fact))
    assert receive.store(host.runtime, desk.provider, event, host.clock.now())
    providers: Any = host.runtime.providers
    del providers["stripe"]
    desk.jobs.run_due()
    (item,) = desk.queue("review")
    assert item["problem"] == "the provider is off"
    providers["stripe"] = desk.provider
    desk.resolve("review", item["id"], "retry")
    desk.jobs.run_due()
    assert (desk.queue("review"), host.balance(path)["balanceCredits"]) == ([], "2000")


@pytest.mark.parametrize("what", ["refund", "dispute"])
def test_money_that_went_back_in_another_currency_is_never_counted_by_its_number(
    host: Host, path: str, desk: Desk, what: str
) -> None:
    purchase = desk.buy(path, 2_000)
    state = "succeeded" if what == "refund" else "lost"
    foreign = desk.provider.say(what, "re_foreign", state, 1_840, parent=f"pi_{purchase}", currency="EUR")
    desk.deliver(foreign)
    assert host.balance(path)["balanceCredits"] == "2000"
    (item,) = desk.queue("review")
    assert (item["kind"], item["purchaseId"], item["amountMinor"], item["currency"]) == (
        "foreign_refund", purchase, 1_840, "EUR",
    )  # fmt: skip
    assert item["problem"] == f"a {what} in EUR of a purchase in USD: no credits were taken"
    assert item["accountEmail"] == "mira@customer.example" and item["actions"] == ["dismiss"]
    with reading(host.runtime.db) as session:
        kinds = [row.kind for row in list_documents(session, "a", 1, 10)[0]]
    assert kinds == ["receipt"], "no paper says that dollars went back"
    refused = host.post(f"/v1/support/purchases/{purchase}/refunds", {"reason": "x"}, bearer=desk.admin)
    assert_problem(refused, 409, "REFUND-004")
    body = {"reason": "the bank's word", "amountCredits": "2000"}
    assert host.post("/v1/admin/accounts/a/debits", body, bearer=desk.admin).status_code == 201
    desk.resolve("review", item["id"], "dismiss")
    desk.deliver(foreign)
    assert (desk.queue("review"), host.balance(path)["balanceCredits"]) == ([], "0")
    assert audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def test_a_foreign_refund_that_failed_after_all_asks_nothing_of_anybody(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    parent = f"pi_{purchase}"
    desk.deliver(desk.provider.say("refund", "re_1", "pending", 1_840, parent=parent, currency="EUR"))
    assert len(desk.queue("review")) == 1
    desk.deliver(desk.provider.say("refund", "re_1", "failed", 1_840, parent=parent, currency="EUR"))
    assert (desk.queue("review"), host.balance(path)["balanceCredits"]) == ([], "2000")


def test_our_own_refund_told_in_another_currency_is_the_one_we_asked_for(host: Host, path: str, desk: Desk) -> None:
    purchase = desk.buy(path, 2_000)
    asked = host.post(f"/v1/support/purchases/{purchase}/reversals", {"reason": "x"}, bearer=desk.support).json()
    told = desk.provider.say(
        "refund", "re_own", "succeeded", 1_840, parent=f"pi_{purchase}", own=asked["reversalId"], currency="EUR"
    )
    desk.deliver(told)
    assert (desk.queue("review"), host.balance(path)["balanceCredits"]) == ([], "0")
    assert host.get(f"{path}/payments").json()["payments"][0]["status"] == "refunded"


def test_events_of_long_ago_that_wait_are_never_forgotten(host: Host, desk: Desk) -> None:
    desk.deliver(desk.provider.say("payment", "pi_stranger", "paid", 2_000))
    wait_for(host, desk, PARKED_TRIES, hours=19)
    host.wait(days=200)
    desk.jobs.run_due()
    assert event_of(host, "evt_1").status == "parked" and len(desk.queue("review")) == 1


@pytest.fixture
def pages(host: Host) -> Iterator[httpx.Client]:
    """The desk's queue page beside the API, and a browser in which support is signed in."""
    assets = read_assets()
    templates = Templates(assets)
    shown = (
        Page(method="POST", path="/support/sign-in", reader="anyone", may=None, handler=staff.sign_in),
        Page(method="GET", path="/support/queues/{queue:str}", reader="staff", may="support", handler=desk_queues.show),
        Page(
            method="POST",
            path="/support/queues/{queue:str}/{item_id:str}/resolve",
            reader="staff",
            may="support",
            handler=desk_queues.decide,
        ),
    )
    routes = [asset_handler(assets), *(page_route(each, templates) for each in shown)]
    with TestClient(create_app(host.runtime, host.site.settings, routes)) as client:
        client.headers["origin"] = "http://testserver.local"
        yield client


def test_the_desks_page_shows_what_was_said_in_vain_and_tries_it_again(
    host: Host, path: str, desk: Desk, pages: httpx.Client
) -> None:
    purchase = desk.buy(path, 2_000)
    desk.deliver(desk.provider.say("refund", "re_1", "succeeded", 1_840, parent=f"pi_{purchase}", currency="EUR"))
    desk.deliver(desk.provider.say("payment", "pi_stranger", "paid", 2_000))
    wait_for(host, desk, PARKED_TRIES, hours=19)
    assert pages.post("/support/sign-in", data={"key": desk.support}, follow_redirects=False).status_code == 303
    shown = pages.get("/support/queues/review").text
    assert "Event that could not be carried out" in shown and "<code>payment.paid</code>" in shown
    assert "18.40 EUR in another currency" in shown and "no purchase is known for it" in shown
    assert shown.count("Try it again now") == 1 and shown.count(">Dismiss<") == 2
    (item,) = [each for each in desk.queue("review") if each["kind"] == "event"]
    form = {"action": "retry", "reason": "once more"}
    done = pages.post(f"/support/queues/review/{item['id']}/resolve", data=form, follow_redirects=False)
    assert done.headers["location"] == "/support/queues/review?done=retry"
    assert "It is tried again now" in pages.get(done.headers["location"]).text
    assert [each["kind"] for each in desk.queue("review")] == ["foreign_refund"]
