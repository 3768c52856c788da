"""The commands: everything that may move credits, and what comes back.

A command is a value. `engine/book.py` is the only place that carries commands out; `rules/decisions.py` says what
each of them does. `key` is the caller's idempotency key (`None`: the caller has its own guard); two commands with
the same account, operation and key are the same request only if their fingerprints agree.
"""

import hashlib
from datetime import UTC, datetime
from typing import ClassVar, Literal

import msgspec

from engine.rules.errors import Refusal
from engine.rules.ledger import Transaction
from engine.rules.lots import Bucket, Draw
from engine.rules.money import CREDITS_MAX

Status = Literal["active", "suspended", "closed"]
"""A wallet's status; `closed` is for good."""

GrantType = Literal[
    "deposit",
    "auto_recharge",
    "volume_discount",
    "coupon_credit",
    "promo_credit",
    "monthly_credit",
    "commit_credit",
    "admin_credit",
]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """Create one lot of `credits`. `cost_minor` is the money paid for it (0 for a gift).

    `operation` keeps the keys of different callers apart: a host's key never meets one that a flow made. A grant
    whose reference is a campaign is made once for that reference: another answers the first.
    """

    operation: str = "grant"
    account_id: str
    actor: str
    type: GrantType
    source: str
    bucket: Bucket
    credits: int
    description: str
    expires_at: datetime | None = None
    reference_type: str | None = None
    reference_id: str | None = None
    purchase_id: str | None = None
    cost_minor: int = 0
    cost_currency: str | None = None
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (
            self.type,
            self.source,
            self.bucket,
            self.credits,
            self.description,
            None if self.expires_at is None else self.expires_at.astimezone(UTC),
            self.reference_type,
            self.reference_id,
            self.metadata,
        )

    @property
    def campaign(self) -> str | None:
        """The campaign step that this grant is made for, once for each account (SPEC §6)."""
        return self.reference_id if self.reference_type == "campaign" else None


class Spend(msgspec.Struct, frozen=True, kw_only=True):
    """Draw `credits` in spend order, all or nothing. `dry_run` plans and writes nothing.

    `api_key_id` is the account's API key that the spend was made with: its own limits hold on top.
    """

    operation: ClassVar[str] = "spend"
    account_id: str
    actor: str
    credits: int
    description: str = ""
    provider_id: str | None = None
    provider_name: str | None = None
    capability_id: str | None = None
    outcome: str | None = None
    call_id: str | None = None
    api_key_id: str | None = None
    metadata: str = "{}"
    dry_run: bool = False
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        asked = (
            self.credits,
            self.description,
            self.provider_id,
            self.provider_name,
            self.capability_id,
            self.outcome,
            self.call_id,
            self.metadata,
        )
        return asked if self.api_key_id is None else (*asked, self.api_key_id)


class Reverse(msgspec.Struct, frozen=True, kw_only=True):
    """Undo a spend, whole (`credits=None`: all that is left of it) or in part, to the very lots, last drawn first."""

    operation: ClassVar[str] = "reversal"
    account_id: str
    actor: str
    transaction_id: str
    credits: int | None
    description: str
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.transaction_id, self.credits, self.description, self.metadata)


class TakeBack(msgspec.Struct, frozen=True, kw_only=True):
    """Take `credits` of a purchase back because its money went back: bonus lot first, what remains.

    With `owe`, the part that was spent (held counts as spent) becomes debt, which the wallet's other lots pay at
    once; what expired or was forfeited is not owed. Without it (a dispute still open) only what remains is taken, and
    of a subscription's payment what holds let go later.
    """

    operation: ClassVar[str] = "take_back"
    account_id: str
    actor: str
    type: Literal["refund", "dispute"]
    purchase_id: str
    credits: int
    owe: bool
    description: str
    reference_type: str | None = None
    reference_id: str | None = None
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.type, self.purchase_id, self.credits, self.owe, self.metadata)


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """Undo a `TakeBack`: first the debt this purchase caused, then the very lots.

    With `only_owed` what was taken stays taken: debt is cancelled, and credits that paid it make a lot of their own.
    """

    operation: ClassVar[str] = "give_back"
    account_id: str
    actor: str
    type: Literal["refund_failed", "dispute_won"]
    purchase_id: str
    credits: int
    description: str
    only_owed: bool = False
    reference_type: str | None = None
    reference_id: str | None = None
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        asked = (self.type, self.purchase_id, self.credits, self.metadata)
        return (*asked, self.only_owed) if self.only_owed else asked


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Reserve `credits` in spend order for `ttl_seconds` (`None`: as long as the catalogue says)."""

    operation: ClassVar[str] = "hold"
    account_id: str
    actor: str
    credits: int
    ttl_seconds: int | None = None
    description: str = ""
    provider_id: str | None = None
    provider_name: str | None = None
    capability_id: str | None = None
    call_id: str | None = None
    api_key_id: str | None = None
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        asked = (
            self.credits,
            self.ttl_seconds,
            self.description,
            self.provider_id,
            self.provider_name,
            self.capability_id,
            self.call_id,
            self.metadata,
        )
        return asked if self.api_key_id is None else (*asked, self.api_key_id)


class Capture(msgspec.Struct, frozen=True, kw_only=True):
    """End a hold: take `credits` of it, first held first, and release the rest. None at all is a void."""

    operation: ClassVar[str] = "capture"
    account_id: str
    actor: str
    hold_id: str
    credits: int
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.hold_id, self.credits)


class Void(msgspec.Struct, frozen=True, kw_only=True):
    """End a hold and release all of it."""

    operation: ClassVar[str] = "void"
    account_id: str
    actor: str
    hold_id: str
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.hold_id,)


class Extend(msgspec.Struct, frozen=True, kw_only=True):
    """Hold `credits` more, or until `ttl_seconds` from now if that is later than it would have ended, or both."""

    operation: ClassVar[str] = "extend"
    account_id: str
    actor: str
    hold_id: str
    credits: int = 0
    ttl_seconds: int | None = None
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.hold_id, self.credits, self.ttl_seconds)


class Expire(msgspec.Struct, frozen=True, kw_only=True):
    """Let go what has expired, lots and holds. Every command does this first; on its own it is the sweeper's touch."""

    operation: ClassVar[str] = "expire"
    account_id: str
    actor: str
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return ()


class AdminDebit(msgspec.Struct, frozen=True, kw_only=True):
    """A correction downwards: draw `credits` in spend order, of one bucket or of all, all or nothing.

    It is no usage (no day's limit counts it), but what it drew counts as spent where money is taken back.
    """

    operation: ClassVar[str] = "admin_debit"
    account_id: str
    actor: str
    credits: int
    description: str
    bucket: Bucket | None = None
    metadata: str = "{}"
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.credits, self.bucket, self.description, self.metadata)


class SetStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Suspend, resume or close a wallet. Closing forfeits every lot; a closed wallet stays closed and empty.

    Open holds are voided by commands of their own, before it.
    """

    operation: ClassVar[str] = "set_status"
    account_id: str
    actor: str
    status: Status
    key: str | None = None

    def identity(self) -> tuple[object, ...]:
        return (self.status,)


Command = (
    Grant | Spend | Reverse | TakeBack | GiveBack | Hold | Capture | Void | Extend | Expire | AdminDebit | SetStatus
)


class Posted(msgspec.Struct, frozen=True):
    """A command carried out: its rows in order. `replayed`: an earlier call did it, these are its rows."""

    transactions: tuple[Transaction, ...]
    replayed: bool = False

    @property
    def balance_after(self) -> int:
        return self.transactions[-1].balance_after


class Planned(msgspec.Struct, frozen=True):
    """What a dry run would have drawn, and the available balance it would have left."""

    draws: tuple[Draw, ...]
    balance_after: int


Outcome = Posted | Planned | Refusal


def begins_month(command: Command) -> bool:
    """Whether it is a part of what makes one month the next."""
    return isinstance(command, Grant) and command.type == "monthly_credit"


def fingerprint(command: Command) -> str:
    """128 bits that name the request behind a key: what it asks, not who asked or when."""
    return fingerprint_of(command.operation, command.identity())


def fingerprint_of(operation: str, identity: tuple[object, ...]) -> str:
    """The same for any keyed request: 128 bits of SHA-256 over its canonical JSON, as hex."""
    return hashlib.sha256(msgspec.json.encode((operation, identity))).hexdigest()[:32]


class Reach(msgspec.Struct, frozen=True):
    """What must be loaded before a command can be decided: lots in spend order worth `open_credits`, …"""

    open_credits: int = 0
    purchase_id: str | None = None
    transaction_id: str | None = None
    hold_id: str | None = None
    api_key_id: str | None = None


def reach(command: Command) -> Reach:
    """The part of the wallet a command can touch, beside what has expired.

    A `TakeBack` takes from its purchase's lots and may draw as much again from others to pay the debt. A `Capture`
    may draw from open lots what it takes above the hold. Closing, and a debit of one bucket, reach every lot.
    """
    match command:
        case Capture() | Extend():
            return Reach(open_credits=command.credits, hold_id=command.hold_id)
        case Void():
            return Reach(hold_id=command.hold_id)
        case Spend() | Hold():
            return Reach(open_credits=command.credits, api_key_id=command.api_key_id)
        case Reverse():
            return Reach(transaction_id=command.transaction_id)
        case TakeBack():
            return Reach(open_credits=2 * command.credits, purchase_id=command.purchase_id)
        case GiveBack():
            return Reach(purchase_id=command.purchase_id)
        case AdminDebit(bucket=None):
            return Reach(open_credits=command.credits)
        case AdminDebit() | SetStatus(status="closed"):
            return Reach(open_credits=CREDITS_MAX)
        case _:
            return Reach()
