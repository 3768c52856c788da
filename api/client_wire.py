"""What the client asks and reads, apart from how it travels: requests as values, answers as values, problems raised.

```
PurserError                what Purser refused: status, code, detail, facts
├── InsufficientCredits    CREDIT-001
├── LimitReached           CREDIT-002
├── FeatureNotAllowed      PLAN-001, PLAN-002: `facts["upgradeUrl"]` says where to get it
├── HoldOver               HOLD-001, HOLD-002: it was ended before, or is past its end
├── WalletClosedOrInDebt   WALLET-001, WALLET-002
├── KeyReused              IDEMPOTENCY-002: the key named another request
├── Missing                NOT-FOUND
└── Unreachable            no answer after every try; a keyed request may be sent again with its key
```
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from engine.clock import new_id, real_now

T = TypeVar("T")

LATER = frozenset({429, 502, 503, 504})
"""Statuses that say 'again later'; the request was not stored, or its key tells its fate."""
TRIES_MAX = 5
FIRST_WAIT_SECONDS = 0.1
LAST_WAIT_SECONDS = 5.0


class PurserError(Exception):
    """What Purser refused. `code` has the catalogue's prefix; `facts` are the problem's own members."""

    def __init__(self, status: int, code: str, detail: str, facts: Mapping[str, Any]) -> None:
        super().__init__(f"{code}: {detail}")
        self.status = status
        self.code = code
        self.detail = detail
        self.facts = facts


class InsufficientCredits(PurserError):
    """Less is available than was asked: `neededCredits`, `availableCredits`, `shortfallCredits`."""


class LimitReached(PurserError):
    """A limit of the account or of its key: `limitType`, `limitCredits`."""


class FeatureNotAllowed(PurserError):
    """The plan does not include it: `requiredPlan`, `upgradeUrl`."""


class HoldOver(PurserError):
    """The hold was captured, voided or has expired."""


class WalletClosedOrInDebt(PurserError):
    """Suspended, closed, or owing credits."""


class KeyReused(PurserError):
    """The idempotency key named another request."""


class Missing(PurserError):
    """No such account or object."""


class Unreachable(PurserError):
    """No answer after every try."""


ERRORS: dict[str, type[PurserError]] = {
    "CREDIT-001": InsufficientCredits,
    "CREDIT-002": LimitReached,
    "PLAN-001": FeatureNotAllowed,
    "PLAN-002": FeatureNotAllowed,
    "HOLD-001": HoldOver,
    "HOLD-002": HoldOver,
    "WALLET-001": WalletClosedOrInDebt,
    "WALLET-002": WalletClosedOrInDebt,
    "IDEMPOTENCY-002": KeyReused,
    "NOT-FOUND": Missing,
}
"""By the code without the catalogue's prefix."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """One request; every try of it carries the same key."""

    method: str
    path: str
    body: dict[str, Any] | None = None
    key: str | None = None

    def headers(self) -> dict[str, str]:
        return {"Idempotency-Key": self.key} if self.key is not None else {}


class Draw(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Credits of one lot."""

    lot_id: str
    bucket: str
    amount_credits: str

    @property
    def credits(self) -> int:
        return int(self.amount_credits)


class Row(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The ledger row a command wrote, as far as its caller needs it."""

    id: str
    seq: int
    type: str
    amount_credits: str
    created_at: datetime


class Spent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a spend drew, in spend order, and what is available since."""

    transaction: Row
    draws: tuple[Draw, ...]
    balance_after: str


class Granted(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    transaction: Row
    lot_id: str
    balance_after: str


class Reversed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    transaction: Row
    balance_after: str


class Held(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    hold_id: str
    amount_credits: str
    expires_at: datetime
    balance_after: str


class Captured(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    hold_id: str
    captured_credits: str
    released_credits: str
    balance_after: str
    status: str


class Bucket(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    bucket: str
    available_credits: str
    held_credits: str


class Balance(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is available, held and owed."""

    balance_credits: str
    held_credits: str
    debt_credits: str
    status: str
    buckets: tuple[Bucket, ...]

    @property
    def credits(self) -> int:
        return int(self.balance_credits)


class Entitlements(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    plan: str | None
    features: dict[str, bool | int]
    add_ons: tuple[str, ...]
    limits: dict[str, int]


def of_account(account: str, resource: str) -> str:
    """The path of an account's resource."""
    return f"/v1/accounts/{quote(account, safe='')}/{resource}"


def command(account: str, resource: str, body: Mapping[str, Any], key: str | None) -> Ask:
    """A keyed POST: without a key of the caller's it gets one of its own, which all its tries share."""
    said = {name: value for name, value in body.items() if value is not None}
    return Ask(method="POST", path=of_account(account, resource), body=said, key=key or new_key())


def new_key() -> str:
    return new_id("req", real_now())


def question(account: str, resource: str) -> Ask:
    return Ask(method="GET", path=of_account(account, resource))


def is_later(answer: httpx.Response) -> bool:
    return answer.status_code in LATER


def wait_seconds(tries: int, answer: httpx.Response | None) -> float:
    """How long to wait after so many tries: what the answer asks for, else twice as long each time."""
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    wait = float(asked) if asked.isdigit() else FIRST_WAIT_SECONDS * 2.0 ** (tries - 1)
    return min(wait, LAST_WAIT_SECONDS)


def read(answer: httpx.Response, shape: type[T]) -> T:
    """The answer as a value, or the problem that it is, raised."""
    if answer.is_success:
        return msgspec.json.decode(answer.content, type=shape)
    raise problem(answer)


def problem(answer: httpx.Response) -> PurserError:
    """The refusal in an answer; its code is read without the catalogue's prefix."""
    try:
        body = msgspec.json.decode(answer.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        body = {}
    code = str(body.get("code", ""))
    kind = next((kind for bare, kind in ERRORS.items() if code == bare or code.endswith(f"-{bare}")), PurserError)
    if answer.status_code in LATER:
        kind = Unreachable
    facts = {name: value for name, value in body.items() if name not in ("type", "title", "status", "detail", "code")}
    return kind(answer.status_code, code, str(body.get("detail", answer.reason_phrase)), facts)


def unanswered(error: httpx.TransportError) -> Unreachable:
    return Unreachable(0, "UNAVAILABLE", f"Purser does not answer: {error!r}", {})
