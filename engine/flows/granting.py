"""What a payment grants: base, bonus, then a coupon's, by the kind of its purchase; a commit plan's parts as due."""

from datetime import datetime

from msgspec.structs import replace
from sqlmodel import Session

from engine.rules.catalog import PROVIDER_NAMES
from engine.rules.commands import Command, Grant, GrantType
from engine.rules.commits import landed_of, next_part_at, part_of
from engine.rules.descriptions import describe, money_label
from engine.rules.money import Money
from engine.rules.purchases import Terms
from engine.runtime import Runtime
from engine.store.tables import CommitRow, PurchaseCouponRow, PurchaseRow

_WORDS: dict[str | None, tuple[GrantType, str]] = {
    None: ("deposit", "custom_credits"),
    "auto_recharge": ("auto_recharge", "auto_recharge"),
    "commit": ("commit_credit", "commit"),
}
"""Type and source of the base lot, by the purchase's kind."""


def commit_of(session: Session, purchase: PurchaseRow) -> CommitRow | None:
    """The commit plan behind a purchase, if it is one."""
    return session.get(CommitRow, (purchase.account_id, purchase.purchase_id)) if purchase.kind == "commit" else None


def terms_of(purchase: PurchaseRow, commit: CommitRow | None) -> Terms:
    """What was agreed; of a commit plan that lands in parts, the credits are those that have landed."""
    base, bonus = purchase.base_credits, purchase.bonus_credits
    if commit is not None and purchase.landed_at is not None:
        base = landed_of(base, commit.parts_landed, commit.parts)
        bonus = landed_of(bonus, commit.parts_landed, commit.parts)
    amount = Money(purchase.amount_minor, purchase.currency)
    credited = purchase.provider_reference if purchase.landed_at is not None else None
    return Terms(amount, base, bonus, has_landed=purchase.landed_at is not None, credited=credited)


def grants_of(
    runtime: Runtime,
    purchase: PurchaseRow,
    commit: CommitRow | None,
    payment_id: str,
    actor: str,
    coupon: PurchaseCouponRow | None = None,
) -> list[Command]:
    """Each lot with its row; the whole price is the cost of the base lots. Of a commit plan, the part that is next."""
    number, parts = (commit.parts_landed + 1, commit.parts) if commit is not None else (1, 1)
    name = "" if parts == 1 else f":{number}"
    kind, source = _WORDS[purchase.kind]
    reference = ("commit_plan", commit.plan_id) if commit is not None else (f"{purchase.provider}_payment", payment_id)
    base = Grant(
        account_id=purchase.account_id,
        actor=actor,
        type=kind,
        source=source,
        bucket="recharge",
        credits=part_of(purchase.base_credits, number, parts),
        description=purchase.description,
        reference_type=reference[0],
        reference_id=reference[1],
        purchase_id=purchase.purchase_id,
        cost_minor=part_of(purchase.amount_minor, number, parts),
        cost_currency=purchase.currency,
        key=f"purchase:{purchase.purchase_id}:base{name}",
    )
    commands: list[Command] = [base]
    bonus = tier_bonus(purchase, coupon)
    if bonus > 0:
        commands.append(
            replace(
                base,
                type="volume_discount",
                source="volume_discount",
                credits=part_of(bonus, number, parts),
                description=_bonus_words(runtime, purchase, bonus),
                cost_minor=0,
                cost_currency=None,
                key=f"purchase:{purchase.purchase_id}:bonus{name}",
            )
        )
    if coupon is not None:
        commands.append(_coupon_grant(base, coupon))
    return commands


def _coupon_grant(base: Grant, coupon: PurchaseCouponRow) -> Grant:
    """What the coupon adds: the last lot, so the first that is taken back."""
    return replace(
        base,
        type="coupon_credit",
        source="coupon",
        credits=coupon.credits,
        description=coupon.description,
        cost_minor=0,
        cost_currency=None,
        key=f"purchase:{coupon.purchase_id}:coupon",
    )


def tier_bonus(purchase: PurchaseRow, coupon: PurchaseCouponRow | None) -> int:
    """The purchase's bonus credits without those of its coupon."""
    return purchase.bonus_credits - (0 if coupon is None else coupon.credits)


def _bonus_words(runtime: Runtime, purchase: PurchaseRow, bonus_credits: int) -> str:
    amount = money_label(Money(purchase.amount_minor, purchase.currency))
    percent = f"{bonus_credits * 100 / purchase.base_credits:.4g}"
    template = runtime.catalog.descriptions.volume_discount
    return describe(template, amount=amount, provider=PROVIDER_NAMES[purchase.provider], percent=percent)


def count_part(commit: CommitRow | None, is_refunded: bool, landed_at: datetime | None) -> None:
    """Keep when the next part falls due: none once the money is back, and again should its refund fail."""
    if commit is not None and landed_at is not None:
        commit.next_part_at = next_part_at(landed_at, commit.parts_landed, commit.parts, is_refunded)
