"""How pages write credits, money, instants and kinds: one place for every word that templates put around a value."""

from datetime import date, datetime, timedelta, timezone

from api.pages.tongues import ENGLISH, Tongue
from engine.flows.proposals import APPROVED_BY
from engine.rules.catalog import PROVIDER_NAMES, Catalog
from engine.rules.lots import BUCKET_NAMES, NEVER
from engine.rules.money import Money, currency_digits, major_text

TYPE_NAMES = {
    "deposit": "Top-up",
    "auto_recharge": "Auto-recharge",
    "volume_discount": "Bonus credits",
    "coupon_credit": "Coupon",
    "promo_credit": "Promotion",
    "monthly_credit": "Monthly credits",
    "commit_credit": "Commit plan",
    "admin_credit": "Correction, added",
    "debit": "Usage",
    "hold": "Reserved",
    "hold_release": "Reservation released",
    "debit_reversal": "Usage reversed",
    "refund": "Refund",
    "refund_failed": "Refund failed, returned",
    "dispute": "Payment disputed",
    "dispute_won": "Dispute won, returned",
    "expiry": "Expired",
    "forfeit": "Forfeited",
    "admin_debit": "Correction, taken",
    "debt_repayment": "Owed credits repaid",
}
"""The ledger's types as people read them, in the order in which the filter offers them."""

SOURCE_NAMES = {
    "custom_credits": "Top-up",
    "volume_discount": "Bonus credits",
    "coupon": "Coupon",
    "promo": "Promotion",
    "referral": "Referral",
    "survey": "Survey",
    "check_in": "Check-in",
    "subscription": "Monthly credits",
    "auto_recharge": "Auto-recharge",
    "commit": "Commit plan",
    "admin": "Correction",
}

STATUS_NAMES = {
    "pending": ("Waiting", "wait"),
    "completed": ("Paid", "good"),
    "failed": ("Failed", "bad"),
    "expired": ("Expired", "quiet"),
    "refunded": ("Refunded", "quiet"),
    "partially_refunded": ("Partly refunded", "quiet"),
    "disputed": ("Disputed", "bad"),
    "review": ("In review", "wait"),
    "pending_approval": ("Waiting for approval", "wait"),
    "refunding": ("Refund under way", "wait"),
    "succeeded": ("Refunded", "good"),
    "rejected": ("Rejected", "quiet"),
    "cancelled": ("Cancelled", "quiet"),
}
"""Payment and reversal statuses: the word, and the tone it is shown in (never the tone alone)."""

ACT_NAMES = {
    "credits": "Correction",
    "grant_review": "Grant under review",
    "admin_grant": "Large correction upwards",
    "admin_debit": "Large correction downwards",
    "quarantine": "Quarantined payment",
    "unclaimed": "Unclaimed payment",
}
"""What the audit log's acts are about, where their own word is not enough."""

QUEUE_NAMES = {
    "approvals": "Approvals",
    "quarantined": "Quarantined",
    "unclaimed": "Unclaimed",
    "review": "Review",
}
"""The desk's queues, in the order in which they are offered."""

DOCUMENT_NAMES = {
    "receipt": "Receipt",
    "invoice": "Invoice",
    "credit_note": "Credit note",
    "payment_confirmation": "Payment confirmation",
}


class Words:
    """The words of one catalogue: its unit decides whether credits read as numbers or as US dollars."""

    def __init__(self, catalog: Catalog, tongue: Tongue = ENGLISH) -> None:
        self._unit = catalog.unit
        self._tongue = tongue
        self.shows_usd = catalog.unit.display == "usd"

    def credits(self, count: int) -> str:
        """`37500` → `"37,500"`; where the catalogue shows dollars `12340000` → `"$12.34"`, six decimals at most.

        A fraction of a cent below the last shown place is cut off, towards zero.
        """
        sign = "−" if count < 0 else ""
        tongue = self._tongue
        if not self.shows_usd:
            return f"{sign}{tongue.number(abs(count))}"
        assert self._unit.credits_per_usd is not None
        whole, part = divmod(abs(count) * 1_000_000 // self._unit.credits_per_usd, 1_000_000)
        decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
        return sign + tongue.in_currency(f"{tongue.number(whole)}{tongue.decimal}{decimals}", "USD")

    def amount(self, count: int) -> str:
        """Credits with their unit: `"37,500 credits"`, `"1 credit"`, or dollars alone."""
        if self.shows_usd:
            return self.credits(count)
        return f"{self.credits(count)} {self.unit(abs(count))}"

    def unit(self, count: int) -> str:
        """What so many credits are called: translated where the catalogue's words are known ones."""
        return str(self._tongue.phrases.ngettext(self._unit.singular, self._unit.plural, count))

    def signed(self, count: int) -> str:
        """`"+37,500"` or `"−800"`."""
        return f"+{self.credits(count)}" if count > 0 else self.credits(count)

    def price_per_credit(self, text: str, currency: str) -> str:
        """`"0.0080000000"` → `"$0.008"`: no digit that says nothing, at least two decimals."""
        whole, _, decimals = text.partition(".")
        places = decimals.rstrip("0").ljust(2, "0")
        return self._tongue.in_currency(f"{self._tongue.number(int(whole))}{self._tongue.decimal}{places}", currency)


def money(minor: int, currency: str, tongue: Tongue = ENGLISH) -> str:
    """`30000, "USD"` → `"$300.00"`; another currency → `"300.00 EUR"`."""
    whole, _, places = major_text(Money(minor, currency)).partition(".")
    sign = "−" if whole.startswith("-") else ""
    text = tongue.number(int(whole.removeprefix("-"))) + (f"{tongue.decimal}{places}" if places else "")
    return sign + tongue.in_currency(text, currency)


def money_short(minor: int, currency: str, tongue: Tongue = ENGLISH) -> str:
    """The same without decimals where they are zeros: `"$300"`."""
    unit = 10 ** currency_digits(currency)
    if minor % unit:
        return money(minor, currency, tongue)
    return tongue.in_currency(tongue.number(minor // unit), currency)


def day(at: datetime | date, tongue: Tongue = ENGLISH) -> str:
    """`"21 Nov 2026"`, in UTC."""
    if isinstance(at, datetime):
        at = at.astimezone(timezone.utc)
    return tongue.day(at)


def moment(at: datetime, tongue: Tongue = ENGLISH) -> str:
    """`"21 Nov 2026, 03:13 UTC"`."""
    return f"{day(at, tongue)}, {at.astimezone(timezone.utc):%H:%M} UTC"


def expiry(at: datetime, tongue: Tongue = ENGLISH) -> str:
    return tongue.say("Never expires") if at >= NEVER else tongue.say("Expires %(day)s", day=day(at, tongue))


def until(at: datetime, tongue: Tongue = ENGLISH) -> str:
    """The same for a column that is headed "Expires"."""
    return tongue.say("Never") if at >= NEVER else day(at, tongue)


def duration(length: timedelta) -> str:
    """`"23 h 41 min"`, rounded down; less than a minute is `"0 h 0 min"`."""
    minutes = int(length.total_seconds()) // 60
    return f"{minutes // 60} h {minutes % 60} min"


def provider_name(name: str) -> str:
    return PROVIDER_NAMES.get(name, name)


def type_name(name: str, tongue: Tongue = ENGLISH) -> str:
    return tongue.say(TYPE_NAMES.get(name, name))


def source_name(name: str, tongue: Tongue = ENGLISH) -> str:
    return tongue.say(SOURCE_NAMES.get(name, name))


def bucket_name(name: str, tongue: Tongue = ENGLISH) -> str:
    return tongue.say(next((words for bucket, words in BUCKET_NAMES.items() if bucket == name), name))


def document_name(kind: str, tongue: Tongue = ENGLISH) -> str:
    return tongue.say(DOCUMENT_NAMES.get(kind, kind))


def feature_name(name: str, tongue: Tongue = ENGLISH) -> str:
    """`"api_access"` → `"API access"`."""
    text = " ".join("API" if part == "api" else part for part in name.split("_"))
    return tongue.say(text[:1].upper() + text[1:])


def person(actor: str) -> str:
    """`"support:Ada"` → `"Ada (support)"`, as the audit log names them; two where one proposed and another approved."""
    proposer, by, approver = actor.partition(APPROVED_BY)
    if by:
        return f"{person(proposer)}{by}{person(approver)}"
    role, _, name = actor.partition(":")
    return f"{name} ({role})" if name else role


def act_name(action: str) -> str:
    """`"grant_review.proposed"` → `"Grant under review: proposed"`."""
    what, _, done = action.partition(".")
    name = ACT_NAMES.get(what, what.replace("_", " ").capitalize())
    return f"{name}: {done.replace('_', ' ')}" if done else name
