"""The sentences a customer reads in the ledger: the catalogue's templates, and how values get into them.

A template is plain text with `{names}`. A value is put in as it is and never read as a template again.
"""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from engine.rules.money import Money, major_text

Template = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"\A[^\x00-\x1f\x7f]*\Z")]

PLACEHOLDERS: dict[str, frozenset[str]] = {
    "deposit": frozenset({"amount", "provider"}),
    "auto_recharge": frozenset({"amount", "provider"}),
    "volume_discount": frozenset({"amount", "provider", "percent"}),
    "coupon_credit": frozenset({"code", "description"}),
    "promo_credit": frozenset({"campaign"}),
    "monthly_credit": frozenset({"plan"}),
    "commit_credit": frozenset({"amount", "months", "plan"}),
    "admin_credit": frozenset({"reason"}),
    "admin_debit": frozenset({"reason"}),
    "debit": frozenset(),
    "reversal": frozenset({"description"}),
    "hold": frozenset(),
    "hold_release": frozenset(),
    "refund": frozenset({"amount", "provider"}),
    "refund_failed": frozenset({"amount", "provider"}),
    "dispute": frozenset({"amount", "provider"}),
    "dispute_won": frozenset({"amount", "provider"}),
    "expiry": frozenset({"bucket"}),
    "forfeit": frozenset(),
    "debt_repayment": frozenset(),
}
"""Which names each template may use: exactly the values that its caller gives."""

_NAME = re.compile(r"\{([a-z]+)\}")


class Descriptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One template per kind of transaction; `reversal` is a spend undone, `debit` a spend that gives no text."""

    deposit: Template = "Credit top-up: {amount}"
    auto_recharge: Template = "Auto-recharge: {amount}"
    volume_discount: Template = "Bonus credits: {percent}% on {amount}"
    coupon_credit: Template = "Coupon: {code} — {description}"
    promo_credit: Template = "Promotion: {campaign}"
    monthly_credit: Template = "Monthly credits: {plan}"
    commit_credit: Template = "Commit plan: {plan}"
    admin_credit: Template = "Correction: {reason}"
    admin_debit: Template = "Correction: {reason}"
    debit: Template = "Usage"
    reversal: Template = "Reversed: {description}"
    hold: Template = "Reserved"
    hold_release: Template = "Reservation released"
    refund: Template = "Refund: {amount}"
    refund_failed: Template = "Refund failed, credits returned: {amount}"
    dispute: Template = "Payment disputed: {amount}"
    dispute_won: Template = "Dispute won, credits returned: {amount}"
    expiry: Template = "Credits expired"
    forfeit: Template = "Account closed, credits forfeited"
    debt_repayment: Template = "Credits owed, repaid"

    def __post_init__(self) -> None:
        for field, allowed in PLACEHOLDERS.items():
            _check_template(field, getattr(self, field), allowed)


def describe(template: str, **values: str | int) -> str:
    """`describe("Credit top-up: {amount}", amount="$10.00")` → `"Credit top-up: $10.00"`.

    Values that the template does not use are left out; one that it needs and lacks is a `KeyError`.
    """
    return _NAME.sub(lambda match: str(values[match[1]]), template)


def money_label(money: Money) -> str:
    """`"$10.00"` for US dollars, else `"10.00 EUR"`, with the currency's own digits."""
    text = major_text(money)
    return f"${text}" if money.currency == "USD" else f"{text} {money.currency}"


def _check_template(field: str, template: str, allowed: frozenset[str]) -> None:
    unknown = sorted(set(_NAME.findall(template)) - allowed)
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in sorted(allowed)) or "none"
        raise ValueError(f"{field} may not use {{{unknown[0]}}}; it knows {known}")
    if set("{}") & set(_NAME.sub("", template)):
        raise ValueError(f"{field} has a brace that belongs to no placeholder")
