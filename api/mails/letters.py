"""Letters: what each notice says, from the facts that stand in its outbox row.

A fact that a notice may lack is left out of its letter. Text is text here: the templates escape it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from babel.dates import format_date
from babel.numbers import format_decimal

from engine.rules.documents import UnitName
from engine.rules.money import Money
from receipts.formats import credits_text, moment_text, money_text
from receipts.phrases import Language, language


@dataclass(frozen=True, slots=True)
class Detail:
    """One line of facts."""

    label: str
    value: str


@dataclass(frozen=True, slots=True)
class Link:
    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Letter:
    """A mail before it has a form: no greeting, no signature."""

    subject: str
    paragraphs: tuple[str, ...]
    details: tuple[Detail, ...] = ()
    link: Link | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """The facts of a notice, and how to say them."""

    facts: Mapping[str, Any]
    spoken: Language
    unit: UnitName
    timezone: str
    base_url: str

    def say(self, phrase: str, **values: str) -> str:
        """A phrase in the mail's language, filled in; phrases are marked with `gettext` where they stand."""
        return str(self.spoken.phrases.gettext(phrase)) % values

    def credits(self, fact: str) -> str:
        """Credits as the catalogue shows them: counted, or in dollars."""
        return credits_text(int(self.facts[fact]), self.unit, language(str(self.spoken.locale)))

    def money(self) -> str | None:
        """The amount that is spoken of, if any is."""
        if "amountMinor" not in self.facts or "currency" not in self.facts:
            return None
        return money_text(Money(int(self.facts["amountMinor"]), str(self.facts["currency"])), self.spoken.locale)

    def day(self, fact: str) -> str:
        return format_date(date.fromisoformat(self.facts[fact]), "long", self.spoken.locale)

    def moment(self, text: str) -> str:
        return moment_text(datetime.fromisoformat(text), self.timezone, self.spoken.locale)

    def detail(self, label: str, fact: str) -> tuple[Detail, ...]:
        """One fact as it stands, or nothing."""
        value = self.facts.get(fact)
        return () if value in (None, "") else (Detail(label, str(value)),)

    def page(self, label: str, path: str) -> Link:
        return Link(label, f"{self.base_url}{path}")


def gettext(phrase: str) -> str:
    """Marks a phrase to be extracted; it is translated when it is said."""
    return phrase


TOP_UP, USAGE, BILLING, SETTINGS, PLANS = (
    "/top-up-credits",
    "/account/usage",
    "/account/billing",
    "/account/settings",
    "/account/subscribe",
)


def low_balance(told: Told) -> Letter:
    text = gettext("Your balance is %(balance)s. You asked to be told when it falls to %(threshold)s.")
    return Letter(
        told.say(gettext("Your balance is low")),
        (told.say(text, balance=told.credits("balanceAfter"), threshold=told.credits("thresholdCredits")),),
        link=told.page(told.say(gettext("Top up")), TOP_UP),
    )


def depleted(told: Told) -> Letter:
    return Letter(
        told.say(gettext("Your balance is used up")),
        (told.say(gettext("Nothing is left in your wallet. What needs credits is refused until you top up.")),),
        link=told.page(told.say(gettext("Top up")), TOP_UP),
    )


def daily_limit_reached(told: Told) -> Letter:
    text = gettext("You spent %(spent)s today; your limit for a day is %(limit)s.")
    return Letter(
        told.say(gettext("Your daily limit is reached")),
        (
            told.say(text, spent=told.credits("spentCredits"), limit=told.credits("limitCredits")),
            told.say(gettext("What passes the limit is refused until midnight UTC, or until you raise it.")),
        ),
        link=told.page(told.say(gettext("Change the limit")), SETTINGS),
    )


def payment_confirmed(told: Told) -> Letter:
    amount = told.money() or ""
    text = gettext("We received your payment of %(amount)s. %(credits)s are in your wallet.")
    return Letter(
        told.say(gettext("Payment of %(amount)s received"), amount=amount),
        (told.say(text, amount=amount, credits=told.credits("credits")),),
        (
            *told.detail(told.say(gettext("Receipt")), "number"),
            *told.detail(told.say(gettext("Order")), "purchaseId"),
        ),
        told.page(told.say(gettext("Payments and receipts")), BILLING),
    )


def refund_done(told: Told) -> Letter:
    amount = told.money() or ""
    text = gettext("We refunded %(amount)s to your original payment method. Its credits were taken back.")
    return Letter(
        told.say(gettext("%(amount)s refunded"), amount=amount),
        (told.say(text, amount=amount),),
        (
            *told.detail(told.say(gettext("Credit note")), "number"),
            *told.detail(told.say(gettext("Receipt")), "originalNumber"),
            *told.detail(told.say(gettext("Order")), "purchaseId"),
        ),
        told.page(told.say(gettext("Payments and receipts")), BILLING),
    )


def refund_failed(told: Told) -> Letter:
    amount = told.money() or ""
    text = gettext(
        "Your refund of %(amount)s could not be paid out, so your payment stands and its credits are yours again. "
        "Please write to us, so that we find another way."
    )
    return Letter(
        told.say(gettext("Your refund of %(amount)s failed"), amount=amount),
        (told.say(text, amount=amount),),
        (
            *told.detail(told.say(gettext("Document")), "number"),
            *told.detail(told.say(gettext("Cancelled credit note")), "originalNumber"),
            *told.detail(told.say(gettext("Order")), "purchaseId"),
        ),
        told.page(told.say(gettext("Payments and receipts")), BILLING),
    )


def credits_expiring(told: Told) -> Letter:
    lots = [Told(lot, told.spoken, told.unit, told.timezone, told.base_url) for lot in told.facts["lots"]]
    names = {
        "limited_time": gettext("Limited-time credits"),
        "monthly": gettext("Monthly credits"),
        "recharge": gettext("Recharge credits"),
    }
    until = gettext("%(credits)s, until %(moment)s")
    return Letter(
        told.say(gettext("Credits are about to expire")),
        (told.say(gettext("These credits leave your wallet unless they are spent before:")),),
        tuple(
            Detail(
                told.say(names[lot.facts["bucket"]]),
                told.say(until, credits=lot.credits("credits"), moment=lot.moment(lot.facts["expiresAt"])),
            )
            for lot in lots
        ),
        told.page(told.say(gettext("What you have and when it expires")), USAGE),
    )


def rollover_clipped(told: Told) -> Letter:
    until = gettext("%(credits)s, until %(moment)s")
    return Letter(
        told.say(gettext("Some monthly credits will not roll over")),
        (
            told.say(gettext("Your plan carries over only so many unused credits.")),
            told.say(gettext("These credits leave your wallet unless they are spent before:")),
        ),
        (
            Detail(
                told.say(gettext("Monthly credits")),
                told.say(until, credits=told.credits("clippedCredits"), moment=told.moment(told.facts["periodEnd"])),
            ),
        ),
        told.page(told.say(gettext("What you have and when it expires")), USAGE),
    )


def unusual_activity(told: Told) -> Letter:
    text = gettext("On %(day)s you have spent %(spent)s so far. The week before, it was %(average)s on average.")
    of_key = gettext("With the API key %(key)s: on %(day)s %(spent)s so far; the week before, %(average)s on average.")
    key = told.facts.get("keyName")
    spent, average = told.credits("spentCredits"), told.credits("averageCredits")
    return Letter(
        told.say(gettext("Unusual activity")),
        (
            told.say(text, day=told.day("day"), spent=spent, average=average)
            if key is None
            else told.say(of_key, key=str(key), day=told.day("day"), spent=spent, average=average),
            told.say(gettext("If this was not you, revoke the API key that was used.")),
        ),
        link=told.page(told.say(gettext("See what was spent")), USAGE),
    )


def daily_summary(told: Told) -> Letter:
    return _summary(told, told.say(gettext("Your day: %(day)s"), day=told.day("to")))


def weekly_summary(told: Told) -> Letter:
    subject = gettext("Your week: %(first)s to %(last)s")
    return _summary(told, told.say(subject, first=told.day("from"), last=told.day("to")))


def _summary(told: Told, subject: str) -> Letter:
    calls = format_decimal(int(told.facts["callCount"]), locale=told.spoken.locale)
    return Letter(
        subject,
        (),
        (
            Detail(told.say(gettext("Spent")), told.credits("spentCredits")),
            Detail(told.say(gettext("Calls")), calls),
            Detail(told.say(gettext("Balance")), told.credits("balanceAfter")),
        ),
        told.page(told.say(gettext("See what was spent")), USAGE),
    )


def auto_recharge_failed(told: Told) -> Letter:
    amount = told.money()
    text = gettext("An automatic top-up of %(amount)s could not be charged to your saved card.")
    short = gettext("An automatic top-up could not be charged to your saved card.")
    return Letter(
        told.say(gettext("Automatic top-up failed")),
        (
            told.say(short) if amount is None else told.say(text, amount=amount),
            told.say(gettext("It is tried again later, and switched off if it fails again and again.")),
        ),
        told.detail(told.say(gettext("Reason")), "reason"),
        told.page(told.say(gettext("Check your card")), BILLING),
    )


def auto_recharge_confirm(told: Told) -> Letter:
    amount = told.money()
    text = gettext("Your bank wants you to confirm an automatic top-up of %(amount)s. Until then no credits are added.")
    short = gettext("Your bank wants you to confirm an automatic top-up. Until then no credits are added.")
    link = str(told.facts.get("link", ""))
    target = link if link.startswith(("https://", f"{told.base_url}/")) else f"{told.base_url}{BILLING}"
    return Letter(
        told.say(gettext("Please confirm a payment")),
        (told.say(short) if amount is None else told.say(text, amount=amount),),
        link=Link(told.say(gettext("Confirm the payment")), target),
    )


def auto_recharge_off(told: Told) -> Letter:
    reasons = {
        "declined": gettext("The card was declined."),
        "card_removed": gettext("The card was removed."),
        "taken_back": gettext("A payment that it had made was taken back or disputed."),
    }
    reason = reasons.get(str(told.facts.get("reason")))
    return Letter(
        told.say(gettext("Automatic top-up is switched off")),
        (told.say(gettext("Nothing is bought by itself any more. Switch it on again whenever you like.")),),
        () if reason is None else (Detail(told.say(gettext("Reason")), told.say(reason)),),
        told.page(told.say(gettext("Check your card")), BILLING),
    )


def subscription_past_due(told: Told) -> Letter:
    return Letter(
        told.say(gettext("Your subscription could not be renewed")),
        (told.say(gettext("The payment failed. Your plan stays for a few days; please check your payment method.")),),
        told.detail(told.say(gettext("Plan")), "plan"),
        told.page(told.say(gettext("Payments and receipts")), BILLING),
    )


def subscription_ended(told: Told) -> Letter:
    return Letter(
        told.say(gettext("Your subscription has ended")),
        (told.say(gettext("What you bought stays in your wallet. You can subscribe again at any time.")),),
        told.detail(told.say(gettext("Plan")), "plan"),
        told.page(told.say(gettext("See the plans")), PLANS),
    )


def subscription_changed(told: Told) -> Letter:
    until, then = str(told.facts.get("periodEnd") or ""), str(told.facts.get("pendingPlan") or "")
    is_pending = bool(until and then)
    changes = (
        Detail(told.say(gettext("Until")), told.moment(until) if is_pending else ""),
        Detail(told.say(gettext("Then")), then),
    )
    return Letter(
        told.say(gettext("Your subscription has changed")),
        (
            told.say(gettext("Your plan stays as it is until the date below, and changes then."))
            if is_pending
            else told.say(gettext("This is your plan now.")),
        ),
        (*told.detail(told.say(gettext("Plan")), "plan"), *(changes if is_pending else ())),
        told.page(told.say(gettext("See the plans")), PLANS),
    )


LETTERS: dict[str, Callable[[Told], Letter]] = {
    "lowBalance": low_balance,
    "depleted": depleted,
    "dailyLimitReached": daily_limit_reached,
    "paymentConfirmed": payment_confirmed,
    "refundDone": refund_done,
    "refundFailed": refund_failed,
    "creditsExpiring": credits_expiring,
    "rolloverClipped": rollover_clipped,
    "unusualActivity": unusual_activity,
    "dailySummary": daily_summary,
    "weeklySummary": weekly_summary,
    "autoRechargeFailed": auto_recharge_failed,
    "autoRechargeConfirm": auto_recharge_confirm,
    "autoRechargeOff": auto_recharge_off,
    "subscriptionPastDue": subscription_past_due,
    "subscriptionEnded": subscription_ended,
    "subscriptionChanged": subscription_changed,
}
"""What each notice says; a notice without a letter can't be written."""
