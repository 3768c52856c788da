"""Money that came for one purchase twice, and invoices nobody agreed to: a person sends them back or leaves them."""

from typing import Any

import pytest
from sqlmodel import select

from engine.audit import audit
from engine.flows import receive
from engine.payments import Fact, InvoiceFact
from engine.rules.money import Money
from engine.store.database import Database, reading
from engine.store.tables import DocumentRow, SubscriptionInvoiceRow, SubscriptionRow
from tests.api.desk import Desk, open_desk
from tests.api.host import Host, assert_problem
from tests.api.subscriber import subscriber
from tests.engine.support import FakeClock


@pytest.fixture
def path(host: Host) -> str:
    return host.open("a", plan="pro")


@pytest.fixture
def desk(host: Host) -> Desk:
    return open_desk(host)


def pay_again(desk: Desk, purchase_id: str, minor: int = 2_000, state: str = "paid") -> Fact:
    request = desk.provider.requests[f"cs_{purchase_id}"]
    return desk.provider.say("payment", "pi_again", state, minor, request=request)


def is_clean(host: Host) -> bool:
    return audit(host.runtime.db, host.runtime.secrets.all_for("ledger chain")).is_clean


def standing(host: Host, path: str) -> tuple[str, str]:
    """The payment's status and the balance."""
    return host.get(f"{path}/payments").json()["payments"][0]["status"], host.balance(path)["balanceCredits"]


def paid_twice(desk: Desk, path: str) -> tuple[str, dict[str, Any]]:
    purchase_id = desk.buy(path, 2_000)
    again = pay_again(desk, purchase_id)
    desk.deliver(again, again)
    (item,) = desk.queue("review")
    return purchase_id, item


def test_a_second_payment_waits_and_is_sent_back_without_a_credit_moved(host: Host, path: str, desk: Desk) -> None:
    purchase_id, item = paid_twice(desk, path)
    assert (item["kind"], item["purchaseId"], item["providerReference"], item["amountMinor"], item["actions"]) == (
        "second_payment", purchase_id, "pi_again", 2_000, ["refund", "dismiss"],
    )  # fmt: skip
    assert standing(host, path) == ("completed", "2000")
    before = host.get(f"{path}/transactions").json()["transactions"]
    assert_problem(desk.resolve("review", item["id"], "credit"), 400, "INVALID", field="action")
    assert_problem(desk.resolve("approvals", item["id"], "refund", desk.admin), 404, "NOT-FOUND")
    done = desk.resolve("review", item["id"], "refund")
    assert (done.status_code, done.json()["status"], desk.queue("review")) == (200, "refunding", []), done.text
    desk.jobs.run_due()
    again = desk.resolve("review", item["id"], "refund")
    assert (again.json()["status"], again.headers["idempotency-replayed"]) == ("refunded", "true")
    assert_problem(desk.resolve("review", item["id"], "dismiss"), 409, "REFUND-003")
    sent = desk.provider.objects[f"re_{item['id']}"]
    assert (sent.parent_id, sent.amount.minor) == ("pi_again", 2_000)
    desk.deliver(sent)
    assert standing(host, path) == ("completed", "2000")
    assert host.get(f"{path}/transactions").json()["transactions"] == before
    with reading(host.runtime.db) as session:
        kinds = list(session.exec(select(DocumentRow.kind)).all())
    assert kinds == ["receipt"], "what was never sold has no credit note"
    assert is_clean(host)
    back = host.post(f"/v1/support/purchases/{purchase_id}/reversals", {"reason": "x"}, bearer=desk.support)
    assert back.status_code == 202, back.text
    desk.jobs.run_due()
    assert standing(host, path) == ("refunded", "0")
    assert is_clean(host)


def test_a_refund_made_at_the_provider_ends_it_and_takes_no_credits(host: Host, path: str, desk: Desk) -> None:
    purchase_id, item = paid_twice(desk, path)
    desk.deliver(desk.provider.say("refund", "re_1", "succeeded", 500, parent="pi_again"))
    assert [each["id"] for each in desk.queue("review")] == [item["id"]]
    desk.resolve("review", item["id"], "refund")
    desk.jobs.run_due()
    assert desk.provider.objects[f"re_{item['id']}"].amount.minor == 1_500, "only what is left goes back"
    assert (standing(host, path), desk.queue("review")) == (("completed", "2000"), [])
    desk.deliver(desk.provider.say("refund", "re_2", "succeeded", 500, parent=f"pi_{purchase_id}"))
    assert standing(host, path) == ("partially_refunded", "1500")
    assert is_clean(host)


def test_a_second_payment_refunded_elsewhere_before_anybody_looked_waits_no_more(
    host: Host, path: str, desk: Desk
) -> None:
    _, item = paid_twice(desk, path)
    desk.deliver(desk.provider.say("refund", "re_1", "succeeded", 2_000, parent="pi_again"))
    assert (desk.queue("review"), standing(host, path)) == ([], ("completed", "2000"))
    assert_problem(desk.resolve("review", item["id"], "refund"), 409, "REFUND-003")
    desk.deliver(desk.provider.say("refund", "re_1", "failed", 2_000, parent="pi_again"))
    (again,) = desk.queue("review")
    assert (again["id"], again["problem"]) == (item["id"], "Its refund failed after all.")


@pytest.mark.parametrize("answer", ["refused", "failed"])
def test_a_refund_that_fails_waits_again_and_can_be_asked_for_again(
    host: Host, path: str, desk: Desk, answer: str
) -> None:
    _, item = paid_twice(desk, path)
    desk.provider.refund_answer = answer
    desk.resolve("review", item["id"], "refund")
    desk.jobs.run_due()
    assert [each["id"] for each in desk.queue("review")] == [item["id"]]
    desk.provider.refund_answer = "succeeded"
    assert desk.resolve("review", item["id"], "refund").json()["status"] == "refunding"
    desk.jobs.run_due()
    assert (desk.queue("review"), standing(host, path)) == ([], ("completed", "2000"))


def test_a_refund_that_fails_days_later_waits_again_and_the_next_try_is_another_refund(
    host: Host, path: str, desk: Desk
) -> None:
    _, item = paid_twice(desk, path)
    desk.provider.refund_answer = "pending"
    desk.resolve("review", item["id"], "refund")
    desk.jobs.run_due()
    assert desk.queue("review") == []
    host.wait(days=3)
    desk.deliver(desk.provider.say("refund", f"re_{item['id']}", "failed", 2_000, parent="pi_again"))
    (again,) = desk.queue("review")
    assert (again["id"], again["problem"]) == (item["id"], "Its refund failed after all.")
    desk.provider.refund_answer = "succeeded"
    assert desk.resolve("review", item["id"], "refund").json()["status"] == "refunding"
    desk.jobs.run_due()
    made = desk.provider.objects[f"re_{item['id']}_2"]
    assert (made.state, made.amount.minor, made.parent_id) == ("succeeded", 2_000, "pi_again")
    assert desk.resolve("review", item["id"], "refund").json()["status"] == "refunded"
    assert (desk.queue("review"), standing(host, path)) == ([], ("completed", "2000"))
    assert is_clean(host)


def test_a_second_payment_whose_refund_is_asked_for_again_waits_for_that_one(host: Host, path: str, desk: Desk) -> None:
    """The word on the first try comes once more while the second is on its way."""
    purchase_id, item = paid_twice(desk, path)
    desk.provider.refund_answer = "failed"
    desk.resolve("review", item["id"], "refund")
    desk.jobs.run_due()
    desk.provider.is_down = True
    desk.resolve("review", item["id"], "refund")
    desk.provider.is_down = False
    first = desk.provider.say("refund", f"re_{item['id']}", "failed", 2_000, parent="pi_again", own=item["id"])
    desk.provider.refund_answer = "succeeded"
    receive.carry_out(host.runtime, desk.provider, (first, pay_again(desk, purchase_id)))
    assert desk.queue("review") == []
    desk.jobs.run_due()
    assert desk.provider.objects[f"re_{item['id']}_2"].state == "succeeded"


def test_an_unreachable_provider_is_asked_until_it_answers(host: Host, path: str, desk: Desk) -> None:
    _, item = paid_twice(desk, path)
    desk.provider.is_down = True
    desk.resolve("review", item["id"], "refund")
    desk.jobs.run_due()
    assert f"re_{item['id']}" not in desk.provider.objects
    desk.provider.is_down = False
    host.wait(minutes=5)
    desk.jobs.run_due()
    assert desk.provider.objects[f"re_{item['id']}"].state == "succeeded"


def test_a_dispute_of_the_second_payment_takes_none_of_the_firsts_credits(host: Host, path: str, desk: Desk) -> None:
    paid_twice(desk, path)
    desk.deliver(desk.provider.say("dispute", "dp_1", "lost", 2_000, parent="pi_again"))
    assert standing(host, path) == ("completed", "2000")
    assert is_clean(host)


def test_a_dismissed_second_payment_waits_no_more(host: Host, path: str, desk: Desk) -> None:
    purchase_id, item = paid_twice(desk, path)
    desk.provider.can_refund = False
    assert_problem(desk.resolve("review", item["id"], "refund"), 409, "REFUND-004")
    assert desk.resolve("review", item["id"], "dismiss").json()["status"] == "dismissed"
    desk.deliver(pay_again(desk, purchase_id))
    assert desk.queue("review") == []
    assert ("support:Sam", "second_payment.dismissed") in desk.acts()


def test_a_large_second_payment_is_not_for_support_alone(host: Host, path: str, desk: Desk) -> None:
    purchase_id = desk.buy(path, 60_000)
    desk.deliver(pay_again(desk, purchase_id, 60_000))
    (item,) = desk.queue("review")
    assert_problem(desk.resolve("review", item["id"], "refund"), 403, "AUTH-002")
    assert desk.resolve("review", item["id"], "refund", desk.approver).status_code == 200


def test_an_invoice_nobody_agreed_to_is_sent_back_or_left_and_never_credited(db: Database, clock: FakeClock) -> None:
    mira = subscriber(db, clock)
    mira.subscribe("pro")
    support = mira.host.new_key("support", name="Sam")
    before = mira.monthly()
    with reading(db) as session:
        row = session.exec(select(SubscriptionRow)).one()
        (paid,) = session.exec(select(SubscriptionInvoiceRow)).all()
    provider = mira.runtime.providers[row.provider]
    wrong = InvoiceFact(
        object_id="in_wrong", provider_subscription_id=row.reference or "", kind="create", state="paid",
        amount=Money(paid.amount_minor - 1, paid.currency), plan="pro", interval="month",
        period_start=row.period_start_at, period_end=row.period_end_at, version=1, live=provider.is_live,
        payment_id="pay_wrong",
    )  # fmt: skip
    assert not receive.carry_out(mira.runtime, provider, (wrong,))
    (item,) = mira.host.get("/v1/support/queues/quarantined", bearer=support).json()["quarantined"]
    assert (item["kind"], item["amountMinor"], item["amountCredits"], item["actions"]) == (
        "invoice", paid.amount_minor - 1, None, ["refund", "dismiss"],
    )  # fmt: skip
    path = f"/v1/support/queues/quarantined/{item['id']}/resolve"
    answer = mira.host.post(path, {"action": "credit", "reason": "x"}, key=None, bearer=support)
    assert_problem(answer, 400, "INVALID", field="action")
    done = mira.host.post(path, {"action": "dismiss", "reason": "x"}, key=None, bearer=support)
    assert (done.status_code, done.json()["status"]) == (200, "quarantined")
    assert mira.host.get("/v1/support/queues/quarantined", bearer=support).json()["quarantined"] == []
    assert mira.monthly() == before and mira.is_clean()
