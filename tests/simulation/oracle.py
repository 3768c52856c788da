"""The oracle: wallets, purchases and coupons kept by the pure rules alone, without a database or a flow."""

from dataclasses import dataclass, field, replace
from datetime import datetime

from engine.rules import commands as c
from engine.rules import purchases as p
from engine.rules.catalog import Catalog, coupon_key
from engine.rules.coupons import Redeemer, check_redeemable, coupon_grant
from engine.rules.errors import CouponUsedUp, Refusal, WalletNotActive
from engine.rules.facts import Fact
from tests.engine.backends import InMemory, WalletBooks

WINDOW_HOURS = 24


@dataclass(slots=True)
class Bought:
    """A purchase: its terms, its facts by id, and what has come of it."""

    account_id: str
    purchase_id: str
    terms: p.Terms
    facts: dict[str, p.KnownFact] = field(default_factory=dict)
    status: str = "open"
    is_disputed: bool = False
    credits_out: int = 0
    landed_at: datetime | None = None
    paid_by: str | None = None


@dataclass
class Oracle:
    """What flows do, done by rules on values; its ledger has no descriptions worth comparing."""

    catalog: Catalog
    memory: InMemory
    bought: dict[str, Bought] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    actor: str = "provider:stripe"

    def books(self, account_id: str) -> WalletBooks:
        return self.memory.books(account_id)

    def one(self, command: c.Command, now: datetime) -> c.Outcome:
        return self.memory.post([command], now)[0]

    def change_status(self, account_id: str, status: c.Status, now: datetime) -> str:
        """`done`, or the code of the refusal."""
        wallet = self.books(account_id).wallet
        if wallet.status == status:
            return "done"
        if wallet.status == "closed":
            return WalletNotActive.code
        if status == "closed":
            self.one(c.Expire(account_id=account_id, actor="admin:a"), now)
            for hold in self.books(account_id).holds:
                if hold.status == "open":
                    self.one(c.Void(account_id=account_id, actor="admin:a", hold_id=hold.hold_id), now)
        self.one(c.SetStatus(account_id=account_id, actor="admin:a", status=status), now)
        return "done"

    def redeem(self, account_id: str, code: str, now: datetime) -> str:
        """The credits granted, or the code of the refusal."""
        books = self.books(account_id)
        if books.wallet.status != "active":
            return WalletNotActive.code
        coupon = self.catalog.coupon(code)
        assert coupon is not None
        key = coupon_key(code)
        mine = [each for each in self.bought.values() if each.account_id == account_id and each.landed_at]
        redeemer = Redeemer(
            plan=None,
            country=None,
            has_topped_up=any(each.status in ("paid", "partially_refunded") for each in mine),
            has_redeemed=any((row.operation, row.idempotency_key) == ("coupon", key) for row in books.rows),
        )
        try:
            check_redeemable(coupon, redeemer, now)
        except Refusal as refusal:
            return refusal.code
        if coupon.max_redemptions is not None and self.used.get(key, 0) >= coupon.max_redemptions:
            return CouponUsedUp.code
        outcome = self.one(coupon_grant(coupon, self.catalog.descriptions, account_id, "account:x", now), now)
        assert isinstance(outcome, c.Posted)
        self.used[key] = self.used.get(key, 0) + 1
        return str(coupon.credits)

    def hear(self, purchase_id: str, fact: Fact, now: datetime) -> str:
        """A provider's word; the purchase's status after it."""
        bought = self.bought[purchase_id]
        kept = p.merge(bought.facts.values(), fact)
        if kept is not None:
            bought.facts[kept.fact_id] = kept
        self._settle(bought, now)
        return bought.status

    def reverse(self, purchase_id: str, reversal_id: str, now: datetime) -> str:
        """Our own reversal within its window: `refunding`, or the code of the refusal."""
        bought = self.bought[purchase_id]
        facts = bought.facts.values()
        lots = tuple(lot for lot in self.books(bought.account_id).lots if lot.purchase_id == purchase_id)
        asked = p.Reversible(
            status=bought.status,
            is_disputed=bought.is_disputed,
            has_refunds=any(
                (f.kind == "refund" and f.state != "failed") or (f.kind == "dispute" and f.state in ("open", "lost"))
                for f in facts
            ),
            provider_can_refund=True,
            provider="stripe",
            landed_at=bought.landed_at,
            lots=lots,
        )
        try:
            p.check_reversal(asked, now, WINDOW_HOURS)
        except Refusal as refusal:
            return refusal.code
        self._keep_own(bought, reversal_id, "pending")
        self.actor = "support:s"
        self._settle(bought, now)
        self.actor = "provider:stripe"
        return "refunding"

    def refuse_refund(self, purchase_id: str, reversal_id: str, now: datetime) -> None:
        """The provider does not even try our refund."""
        self._keep_own(self.bought[purchase_id], reversal_id, "failed")
        self._settle(self.bought[purchase_id], now)

    def _keep_own(self, bought: Bought, reversal_id: str, state: str) -> None:
        credits = bought.terms.granted_credits
        bought.facts[reversal_id] = p.KnownFact(
            reversal_id, "refund", None, state, bought.terms.amount, 0, False, credits
        )

    def _settle(self, bought: Bought, now: datetime) -> None:
        terms = replace(bought.terms, has_landed=bought.landed_at is not None)
        verdict = p.converge(terms, bought.facts.values(), False)
        if verdict.paid_by is not None and bought.landed_at is None:
            bought.paid_by = verdict.paid_by.object_id
            outcomes = self.memory.post(self._grants(bought), now)
            if any(isinstance(outcome, Refusal) for outcome in outcomes):
                status = "refunded" if verdict.status == "refunded" else "quarantined"
                verdict = p.Verdict(status, False, None, 0, 0, "refused")
            else:
                bought.landed_at = now
        if bought.landed_at is not None:
            self._post_difference(bought, verdict, now)
        if verdict.status != "open" or bought.status == "open":
            bought.status, bought.is_disputed = verdict.status, verdict.is_disputed

    def _grants(self, bought: Bought) -> list[c.Command]:
        base = self._grant(bought, "deposit", "custom_credits", bought.terms.base_credits, "base")
        if not bought.terms.bonus_credits:
            return [base]
        return [base, self._grant(bought, "volume_discount", "volume_discount", bought.terms.bonus_credits, "bonus")]

    def _grant(self, bought: Bought, kind: c.GrantType, source: str, credits: int, name: str) -> c.Grant:
        is_base = name == "base"
        return c.Grant(
            account_id=bought.account_id,
            actor="provider:stripe",
            type=kind,
            source=source,
            bucket="recharge",
            credits=credits,
            description="",
            reference_type="stripe_payment",
            reference_id=bought.paid_by,
            purchase_id=bought.purchase_id,
            cost_minor=bought.terms.amount.minor if is_base else 0,
            cost_currency="USD" if is_base else None,
            key=f"purchase:{bought.purchase_id}:{name}",
        )

    def _post_difference(self, bought: Bought, verdict: p.Verdict, now: datetime) -> None:
        facts = bought.facts.values()
        is_won = any(f.kind == "dispute" and f.state in ("won", "prevented") for f in facts)
        has_failed = any(f.kind == "refund" and f.state == "failed" for f in facts)
        missing = verdict.out_credits - bought.credits_out
        if missing < 0:
            kind = "dispute_won" if is_won and not has_failed else "refund_failed"
            self._post(bought, now, c.GiveBack, -missing, kind)
            bought.credits_out = verdict.out_credits
        if bought.credits_out > verdict.firm_credits:
            lots = [lot for lot in self.books(bought.account_id).lots if lot.purchase_id == bought.purchase_id]
            taken = sum(lot.taken_credits for lot in lots)
            owed = sum(lot.owed_credits for lot in lots) - max(0, verdict.firm_credits - taken)
            if owed > 0:
                kind = "refund_failed" if has_failed else "dispute_won"
                self._post(bought, now, c.GiveBack, owed, kind, only_owed=True)
            bought.credits_out = max(verdict.firm_credits, taken)
        firm = max(0, verdict.firm_credits - bought.credits_out)
        is_lost = any(f.kind == "dispute" and f.state == "lost" for f in facts)
        if firm > 0:
            self._post(bought, now, c.TakeBack, firm, "dispute" if is_lost else "refund", owe=True)
            bought.credits_out += firm
        soft = verdict.out_credits - bought.credits_out
        lots = [lot for lot in self.books(bought.account_id).lots if lot.purchase_id == bought.purchase_id]
        if soft > 0 and any(lot.remaining_credits for lot in lots):
            bought.credits_out += self._post(bought, now, c.TakeBack, soft, "dispute", owe=False)

    def _post(
        self,
        bought: Bought,
        now: datetime,
        kind: type[c.TakeBack] | type[c.GiveBack],
        credits: int,
        type_: str,
        **more: bool,
    ) -> int:
        """Carry it out; the credits that its first row took."""
        command = kind(
            account_id=bought.account_id,
            actor=self.actor,
            type=type_,  # type: ignore[arg-type]
            purchase_id=bought.purchase_id,
            credits=credits,
            description="",
            reference_type="stripe_payment",
            reference_id=bought.paid_by,
            **more,  # type: ignore[arg-type]
        )
        outcome = self.one(command, now)
        assert isinstance(outcome, c.Posted)
        return -outcome.transactions[0].amount_credits
