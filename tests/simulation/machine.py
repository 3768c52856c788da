"""Random histories of two wallets, kept three times: by pure rules, on SQLite and on PostgreSQL, equal after each step.

Rules of commands fill a batch, which a drawn cut posts; rules of flows (payments, refunds, coupons, statuses) are
transactions of their own. A crash loses a batch before its commit, and every connection.
"""

from datetime import timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule
from msgspec.structs import replace

from engine.rules import commands as c
from engine.rules.lots import BUCKETS, Bucket
from engine.rules.money import Money
from engine.rules.periods import period_at, period_start
from engine.rules.purchases import Terms
from tests.engine.support import DAY_0, debit, gift
from tests.simulation.keepers import refund_fact
from tests.simulation.oracle import Bought
from tests.simulation.steps import BACK, CREDITS, CUT, DISPUTED, FEW, KEYED, NUMBERS, PRICE, WHICH, Steps, Tally

__all__ = ["History", "Tally"]


class History(Steps):
    """The machine; a test gives it the databases and the tally."""

    # Commands, posted in batches.

    @rule(
        who=WHICH,
        bucket=st.sampled_from(BUCKETS),
        credits=CREDITS,
        hours=st.none() | st.integers(1, 60),
        k=KEYED,
        cut=CUT,
    )
    def grant(self, who: int, bucket: Bucket, credits: int, hours: int | None, k: bool, cut: bool) -> None:
        until = None if hours is None else self.clock.now() + timedelta(hours=hours)
        self._wish(gift(self.accounts[who], credits, bucket, until=until), k, cut)

    @rule(who=WHICH, step=st.integers(0, 2), credits=CREDITS, cut=CUT)
    def campaign_step(self, who: int, step: int, credits: int, cut: bool) -> None:
        asked = gift(self.accounts[who], credits)
        self._wish(replace(asked, reference_type="campaign", reference_id=f"invite/{step}"), True, cut)

    @rule(who=WHICH, credits=CREDITS, cut=CUT)
    def month_begins(self, who: int, credits: int, cut: bool) -> None:
        """The period's credits, as often as anybody asks: granted once."""
        period = period_at(DAY_0, self.clock.now())
        ends = period_start(DAY_0, period + 1)
        asked = gift(self.accounts[who], 40, "monthly", until=ends, key=f"period:{period}")
        self._wish(replace(asked, operation="period", type="monthly_credit", source="subscription"), False, cut)

    @rule(who=WHICH, credits=CREDITS, k=KEYED, cut=CUT)
    def spend(self, who: int, credits: int, k: bool, cut: bool) -> None:
        self._wish(debit(self.accounts[who], credits), k, cut)

    @rule(who=WHICH, times=st.integers(2, 5), back=st.sampled_from([None, None, 0]))
    def spend_small(self, who: int, times: int, back: int | None) -> None:
        """One after the other, as a lane likes it best; and perhaps the last key once more."""
        self._flush()
        for _ in range(times):
            self._wish(debit(self.accounts[who], 1), True, True)
        if back is not None:
            self._wish(self.keyed[-1], False, True)

    @rule(who=WHICH, more=st.sampled_from([0, 0, 1]), cut=CUT)
    def spend_all(self, who: int, more: int, cut: bool) -> None:
        self._wish(debit(self.accounts[who], self._available(who) + more), True, cut)

    @rule(who=WHICH, credits=CREDITS)
    def dry_run(self, who: int, credits: int) -> None:
        self._wish(replace(debit(self.accounts[who], credits), dry_run=True), False, True)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(0, 6), cut=CUT)
    def repeat(self, back: int, cut: bool) -> None:
        self._wish(self.keyed[-1 - back % len(self.keyed)], False, cut)

    @precondition(lambda self: self.keyed)
    @rule(back=st.integers(0, 6), cut=CUT)
    def reuse_a_key(self, back: int, cut: bool) -> None:
        """The key of an earlier request on another one."""
        earlier = self.keyed[-1 - back % len(self.keyed)]
        if isinstance(earlier, (c.Spend, c.Grant, c.Hold)):
            self._wish(replace(earlier, credits=earlier.credits + 1), False, cut)

    @rule(who=WHICH, credits=CREDITS, hours=st.integers(1, 60), k=KEYED, cut=CUT)
    def hold(self, who: int, credits: int, hours: int, k: bool, cut: bool) -> None:
        self._wish(c.Hold(account_id=self.accounts[who], actor="s", credits=credits, ttl_seconds=hours * 3600), k, cut)

    @rule(who=WHICH, back=BACK, percent=st.sampled_from([0, 50, 100]), k=KEYED, cut=CUT)
    def capture(self, who: int, back: int, percent: int, k: bool, cut: bool) -> None:
        self._end(who, back, k, cut, lambda h: {"kind": c.Capture, "credits": h.credits * percent // 100})

    @rule(who=WHICH, back=BACK, more=st.integers(1, 9), k=KEYED, cut=CUT)
    def capture_more(self, who: int, back: int, more: int, k: bool, cut: bool) -> None:
        self._end(who, back, k, cut, lambda h: {"kind": c.Capture, "credits": h.credits + more})

    @rule(who=WHICH, back=BACK, k=KEYED, cut=CUT)
    def void(self, who: int, back: int, k: bool, cut: bool) -> None:
        self._end(who, back, k, cut, lambda h: {"kind": c.Void})

    @rule(who=WHICH, back=BACK, credits=st.integers(0, 9), hours=st.integers(1, 40), k=KEYED, cut=CUT)
    def extend(self, who: int, back: int, credits: int, hours: int, k: bool, cut: bool) -> None:
        self._end(who, back, k, cut, lambda h: {"kind": c.Extend, "credits": credits, "ttl_seconds": hours * 3600})

    @rule(who=WHICH, back=BACK, k=KEYED, cut=CUT)
    def reverse_all(self, who: int, back: int, k: bool, cut: bool) -> None:
        self._reverse(who, back, None, k, cut)

    @rule(who=WHICH, back=BACK, credits=st.integers(1, 20), k=KEYED, cut=CUT)
    def reverse_part(self, who: int, back: int, credits: int, k: bool, cut: bool) -> None:
        self._reverse(who, back, credits, k, cut)

    @rule(who=WHICH, credits=CREDITS, bucket=st.none() | st.sampled_from(BUCKETS), k=KEYED, cut=CUT)
    def admin_debit(self, who: int, credits: int, bucket: Bucket | None, k: bool, cut: bool) -> None:
        account_id = self.accounts[who]
        asked = c.AdminDebit(account_id=account_id, actor="admin:a", credits=credits, description="", bucket=bucket)
        self._wish(asked, k, cut)

    @rule(who=WHICH)
    def sweep(self, who: int) -> None:
        self._wish(c.Expire(account_id=self.accounts[who], actor="system"), False, True)

    @rule(is_meant=st.sampled_from([False, False, True]))
    def crash(self, is_meant: bool) -> None:
        """The batch was decided and written, and the process dies before the commit: nothing of it is kept."""
        if not is_meant:
            return
        self._note("crash")
        now, lost = self.clock.now(), self.batch
        self.batch = []
        self.oracle.memory.crash(lost, now)
        for keeper in self.keepers:
            keeper.crash(lost)
            keeper.close()
        type(self).reopen()
        for keeper in self.keepers:
            keeper.reopen()
        self._compare()

    @rule(hours=st.integers(1, 30))
    def time_passes(self, hours: int) -> None:
        self._flush()
        self._note("time_passes")
        self.clock.advance(timedelta(hours=hours))

    @rule(is_meant=st.sampled_from([False] * 5 + [True]))
    def a_month_passes(self, is_meant: bool) -> None:
        """Rarely: nothing of a month's credits outlives it."""
        self._flush()
        if not is_meant:
            return
        self._note("a_month_passes")
        self.clock.advance(timedelta(days=31))

    # Flows, each in its own transaction.

    @rule(
        who=WHICH,
        bonus=st.sampled_from([0, 9, 30]),
        base=st.sampled_from([90, 100]),
        wrong=st.sampled_from([0] * 7 + [1]),
    )
    def payment_lands(self, who: int, bonus: int, base: int, wrong: int) -> None:
        """A purchase and its payment; now and then of another amount."""
        self._flush()
        terms = Terms(Money(PRICE, "USD"), base, bonus, False)
        bought = Bought(self.accounts[who], f"pay_sim{next(NUMBERS)}", terms)
        self.oracle.bought[bought.purchase_id] = bought
        for keeper in self.keepers:
            keeper.buy(bought)
        self._hear(bought, self._fact(bought, "payment", f"pi_{bought.purchase_id}", "paid", PRICE + wrong))
        self._note("payment_lands")

    @rule(back=BACK)
    def payment_is_told_again(self, back: int) -> None:
        self._say(back, "payment", lambda b: f"pi_{b.purchase_id}", "paid", PRICE)

    @rule(back=BACK, minor=st.sampled_from([1, 300, PRICE]), name=FEW)
    def refund_elsewhere(self, back: int, minor: int, name: int) -> None:
        self._say(back, "refund", lambda b: f"re_{b.purchase_id}_{name}_{minor}", "succeeded", minor)

    @rule(back=BACK, minor=st.sampled_from([1, 300, PRICE]), name=FEW)
    def refund_elsewhere_fails(self, back: int, minor: int, name: int) -> None:
        """A refund that stood, or was never heard of, has failed."""
        self._say(back, "refund", lambda b: f"re_{b.purchase_id}_{name}_{minor}", "failed", minor, version=2)

    @rule(back=FEW, state=st.sampled_from(["open", "open", "inquiry"]))
    def dispute_opens(self, back: int, state: str) -> None:
        self._say(back, "dispute", lambda b: f"dp_{b.purchase_id}", state, DISPUTED)

    @rule(back=FEW, state=st.sampled_from(["won", "lost", "prevented"]))
    def dispute_ends(self, back: int, state: str) -> None:
        self._say(back, "dispute", lambda b: f"dp_{b.purchase_id}", state, DISPUTED, version=2)

    @rule(back=st.integers(0, 1), answer=st.sampled_from(["succeeded", "failed", "refused", None]))
    def we_reverse(self, back: int, answer: str | None) -> None:
        """Our reversal, and what the provider answers to it, or nothing yet."""
        bought = self._bought(back)
        if bought is None:
            return
        self._note("we_reverse")
        own = f"own_{bought.purchase_id}_{self.own.get(bought.purchase_id, 0)}"
        told = self.oracle.reverse(bought.purchase_id, own, self.clock.now())
        assert [keeper.reverse(bought) for keeper in self.keepers] == [told] * len(self.keepers)
        self.tally.outcomes[f"reversal {told}"] += 1
        if told == "refunding" and answer is not None:
            self.own[bought.purchase_id] = self.own.get(bought.purchase_id, 0) + 1
            if answer == "refused":
                self.oracle.refuse_refund(bought.purchase_id, own, self.clock.now())
            else:
                fact = refund_fact(bought, f"re_{own}", answer, PRICE, 1, own)
                self.oracle.hear(bought.purchase_id, fact, self.clock.now())
            for keeper in self.keepers:
                keeper.send_refund(bought, answer)
        self._compare()

    @rule(who=WHICH, which=st.sampled_from([0, 0, 1, 2]))
    def redeem(self, who: int, which: int) -> None:
        self._flush()
        self._note("redeem")
        account_id, code = self.accounts[who], self.coupons[which].code
        seen = len(self.oracle.books(account_id).rows)
        told = self.oracle.redeem(account_id, code, self.clock.now())
        assert [keeper.redeem(account_id, code) for keeper in self.keepers] == [told] * len(self.keepers)
        self.tally.outcomes[told] += 1
        self._count_rows(self.oracle.books(account_id).rows[seen:])
        self._compare()

    @rule(who=WHICH, daily=st.sampled_from([None, 0, 100, 300]), per_call=st.sampled_from([None, None, 30]))
    def set_limits(self, who: int, daily: int | None, per_call: int | None) -> None:
        self._flush()
        self._note("set_limits")
        self._set_limits(self.accounts[who], daily, per_call)

    @rule(who=WHICH, status=st.sampled_from(["suspended", "active", "active"]))
    def suspend_or_resume(self, who: int, status: c.Status) -> None:
        self._change_status(who, status)

    @rule(is_meant=st.sampled_from([False] * 3 + [True]))
    def close(self, is_meant: bool) -> None:
        """Rarely: there is no way back."""
        if is_meant:
            self._change_status(1, "closed")

    # Short stories, for what single steps seldom come to.

    @rule(who=WHICH, bonus=st.sampled_from([0, 30]), minor=st.sampled_from([300, PRICE]))
    def spent_and_taken_back(self, who: int, bonus: int, minor: int) -> None:
        """What was bought is spent, and its money goes back elsewhere: a debt."""
        self.payment_lands(who, bonus, 100, 0)
        self.spend_all(who, 0, True)
        self.refund_elsewhere(0, minor, 1)

    @rule(who=WHICH, state=st.sampled_from(["won", "prevented", "lost"]))
    def disputed(self, who: int, state: str) -> None:
        self.payment_lands(who, 9, 100, 0)
        self.spend(who, 30, False, True)
        self.dispute_opens(0, "open")
        self.dispute_ends(0, state)

    @rule(who=WHICH, minor=st.sampled_from([300, PRICE]))
    def refunded_and_not(self, who: int, minor: int) -> None:
        self.payment_lands(who, 0, 100, 0)
        self.refund_elsewhere(0, minor, 0)
        self.spend(who, 5, True, True)
        self.refund_elsewhere_fails(0, minor, 0)

    @rule(who=WHICH, percent=st.sampled_from([0, 50, 100]), hours=st.sampled_from([0, 0, 3]))
    def held_and_ended_twice(self, who: int, percent: int, hours: int) -> None:
        self.grant(who, "recharge", 20, None, False, True)
        self.hold(who, 10, 2, True, True)
        self.time_passes(hours)
        self.capture_more(who, 0, 3, False, True)
        self.capture(who, 0, percent, True, True)
        self.void(who, 0, True, True)

    @rule(who=WHICH, is_late=st.booleans())
    def reversed_too_late_or_touched(self, who: int, is_late: bool) -> None:
        self.payment_lands(who, 9, 100, 0)
        if is_late:
            self.time_passes(25)
        else:
            self.spend_all(who, 0, True)
        self.we_reverse(0, None)

    @rule(first=WHICH)
    def both_redeem_the_coupon_for_one(self, first: int) -> None:
        self.redeem(first, 0)
        self.redeem(1 - first, 0)
