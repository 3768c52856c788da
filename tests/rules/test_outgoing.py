"""Events from the ledger: which rows are told, in which words, and which only while somebody listens."""

from datetime import timedelta
from typing import Any

from engine.rules.commands import Capture, Command, Expire, Hold, Void
from engine.rules.decisions import Terms, decide_all
from engine.rules.ledger import Page, Wallet
from engine.rules.lots import NEVER
from engine.rules.outgoing import EVENT_TYPES, ON_DEMAND
from tests.engine.support import DAY_0, counting_terms, debit, gift

ACCOUNT = "acc_events"


def told(*commands: Command, listens: bool = True, page: Page | None = None) -> list[dict[str, Any]]:
    """The events of one batch on a wallet."""
    terms = counting_terms()
    if listens:
        terms.wanted.events = ON_DEMAND
    return events(page or new_page(), terms, *commands)


def new_page() -> Page:
    return Page(Wallet(ACCOUNT, "active", 0, b"", 0, [0, 0, 0], [0, 0, 0], NEVER, DAY_0, DAY_0.date(), 0), DAY_0)


def events(page: Page, terms: Terms, *commands: Command) -> list[dict[str, Any]]:
    decide_all({ACCOUNT: page}, commands, terms)
    return [dict(message.payload) for message in page.messages if message.kind == "event"]


def hold(credits: int) -> Hold:
    return Hold(account_id=ACCOUNT, actor="service", credits=credits)


def test_a_grant_is_told_with_its_lot_its_place_and_the_balance() -> None:
    until = DAY_0 + timedelta(days=30)
    [told_of] = told(gift(ACCOUNT, 50, "limited_time", until=until), listens=False)
    assert told_of == {
        "type": "credits.granted",
        "timestamp": "2026-11-02T09:30:00Z",
        "data": {
            "accountId": ACCOUNT,
            "seq": 1,
            "balanceAfter": "50",
            "transactionId": "txn_0000010000000001",
            "type": "promo_credit",
            "source": "promo",
            "lotId": "lot_000001",
            "bucket": "limited_time",
            "amountCredits": "50",
            "expiresAt": "2026-12-02T09:30:00Z",
            "purchaseId": None,
        },
    }


def test_the_spends_of_a_batch_are_one_event() -> None:
    found = told(gift(ACCOUNT, 50), debit(ACCOUNT, 5), debit(ACCOUNT, 60), debit(ACCOUNT, 7))
    assert [each["type"] for each in found] == ["credits.granted", "credits.spent"]
    data = found[1]["data"]
    assert (data["amountCredits"], data["seq"], data["balanceAfter"]) == ("12", 3, "38")
    assert [(row["seq"], row["amountCredits"]) for row in data["transactions"]] == [(2, "5"), (3, "7")]


def test_spends_and_holds_are_told_only_while_somebody_listens() -> None:
    commands = (gift(ACCOUNT, 50), debit(ACCOUNT, 5), hold(10))
    assert [each["type"] for each in told(*commands, listens=False)] == ["credits.granted"]
    assert [each["type"] for each in told(*commands)] == ["credits.granted", "hold.created", "credits.spent"]


def test_a_hold_is_told_from_its_making_to_its_end() -> None:
    captured = Capture(account_id=ACCOUNT, actor="service", hold_id="hold_000001", credits=4)
    nothing = Capture(account_id=ACCOUNT, actor="service", hold_id="hold_000002", credits=0)
    voided = Void(account_id=ACCOUNT, actor="service", hold_id="hold_000003")
    found = told(gift(ACCOUNT, 50), hold(10), hold(5), hold(6), captured, nothing, voided)
    holds = [each for each in found if each["type"].startswith("hold.")]
    assert [each["type"] for each in holds] == ["hold.created"] * 3 + ["hold.captured", "hold.voided", "hold.voided"]
    assert holds[0]["data"]["amountCredits"] == "10" and holds[0]["data"]["expiresAt"] > "2026-11-02T09:30:00Z"
    end = holds[3]["data"]
    assert (end["capturedCredits"], end["releasedCredits"], end["holdId"]) == ("4", "6", "hold_000001")
    assert (end["seq"], end["balanceAfter"]) == (6, "35")
    assert holds[4]["data"]["releasedCredits"] == "5"
    spent = [each["data"] for each in found if each["type"] == "credits.spent"]
    assert [(each["amountCredits"], each["seq"]) for each in spent] == [("4", 6)]


def test_what_time_takes_is_told_once() -> None:
    terms = counting_terms()
    terms.wanted.events = ON_DEMAND
    page = new_page()
    until = DAY_0 + timedelta(hours=2)
    events(page, terms, gift(ACCOUNT, 50, "limited_time", until=until), hold(10))
    page.messages, page.written, page.at = [], [], DAY_0 + timedelta(days=9)
    sweep = Expire(account_id=ACCOUNT, actor="system")
    found = events(page, terms, sweep, sweep)
    assert [each["type"] for each in found] == ["balance.depleted", "hold.expired", "credits.expired"]
    assert found[2]["data"]["amountCredits"] == "50" and found[2]["data"]["lotId"] == "lot_000001"


def test_every_event_there_is_has_a_name_of_the_contract() -> None:
    assert len(set(EVENT_TYPES)) == len(EVENT_TYPES) == 17 and set(EVENT_TYPES) > ON_DEMAND
