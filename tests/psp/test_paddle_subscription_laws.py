"""Any life of a subscription at Paddle ends in the same books, however its events come: in order, late, twice."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.store.database import Database
from tests.conftest import empty_tables
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_orders import a_rail
from tests.psp.paddle_subscriber import PaddleCustomer, open_customer
from tests.psp.paddle_world import PaddleSaysNo

STEPS = (
    *("change pro", "change base", "change elite", "cancel", "reactivate", "pause", "resume"),
    *("decline", "recover", "refund", "approve", "charge back", "some days", "a month"),
)
EXAMPLES = 6
lives = st.lists(st.sampled_from(STEPS), min_size=3, max_size=8)


def step(mira: PaddleCustomer, what: str) -> None:
    """One thing that happens; what Purser or Paddle would not do does not happen."""
    fake, (word, _, rest) = mira.fake, what.partition(" ")
    try:
        match word:
            case "change":
                mira.host.post(f"{mira.path}/subscription/change", {"plan": rest})
            case "cancel" | "reactivate" | "pause" | "resume":
                mira.host.post(f"{mira.path}/subscription/{word}")
            case "decline" | "recover":
                fake.card_declines = word == "decline"
                if word == "recover" and mira.at_paddle()["status"] == "past_due":
                    fake.pay_overdue(mira.reference)
            case "refund":
                fake.refund(fake.of(mira.reference)[-1]["id"])
            case "approve":
                pending = [one["id"] for one in fake.adjustments.values() if one["status"] == "pending_approval"]
                if pending:
                    fake.decide(pending[0], "approved")
            case "charge" if fake.of(mira.reference)[0]["status"] == "completed":
                fake.charge_back(fake.of(mira.reference)[0]["id"])
            case "some" | "a":
                mira.host.clock.advance(timedelta(days=5 if word == "some" else 31))
                fake.advance()
    except PaddleSaysNo:
        return


def ends(mira: PaddleCustomer) -> tuple[object, ...]:
    """What must not depend on the order of arrival."""
    payments = [(p["providerReference"], p["amountMinor"], p["status"]) for p in mira.payments()]
    balance = mira.host.balance(mira.path)
    return (mira.subscription(), sorted(payments), balance["balanceCredits"], balance["debtCredits"])


def lived(db: Database, life: list[str], data: st.DataObject, *, is_mixed: bool) -> tuple[object, ...]:
    """The books after a life that was told in order as it went, or in any order, some of it late or more than once."""
    empty_tables(db)
    clock = FakeClock()
    with FakePaddle(now=clock.now) as fake:
        mira = open_customer(db, clock, fake, a_rail(fake))
        url = mira.change("base", "month")["checkoutUrl"]
        fake.subscribe(url.rpartition("=")[2])
        mira.bring(fake.events[:1:-1] if is_mixed else fake.events)
        for place, what in enumerate(life):
            step(mira, what)
            if is_mixed:
                some = data.draw(st.lists(st.sampled_from(fake.events), max_size=3))
                mira.bring_anew(some, f"x{place}")
            else:
                mira.hear()
        mira.bring_anew(data.draw(st.permutations(fake.events)) if is_mixed else fake.events, "last")
        found = ends(mira)
        assert mira.is_clean()
        mira.runtime.group.close()
    return found


def test_the_books_are_the_same_however_the_events_of_a_subscription_come(db: Database) -> None:
    played = []

    @given(life=lives, data=st.data())
    @settings(max_examples=EXAMPLES)
    def law(life: list[str], data: st.DataObject) -> None:
        assert lived(db, life, data, is_mixed=False) == lived(db, life, data, is_mixed=True)
        played.append(life)

    law()
    assert len(played) >= EXAMPLES
