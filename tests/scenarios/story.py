"""The language of the stories: one command a row, with what came of it and what the wallet holds then.

```
story order-3: the soonest to expire goes first
d0 | grant far L 100 until=d30  | promo_credit +100 far          | 100 / 0 / 0
d0 | grant near L 100 until=d10 | promo_credit +100 near         | 200 / 0 / 0
d0 | spend 120                  | debit -120: near -100, far -20 | 80 / 0 / 0
```

The columns: the day (`d3`, `d3+2h`); the command; every ledger row it wrote, then the code and facts of a refusal;
what is available in limited-time, monthly and recharge, what is held and what is owed, if anything. A lot is called
by the name its grant gave it, and `new1`, `new2` … if it came into being otherwise. Commands (words in brackets may be
left out):

    grant NAME L|M|R CREDITS [until=DAY] [of=PURCHASE] [bonus] [campaign=STEP] [key=KEY]
    spend CREDITS [as=NAME] [key=KEY] [by=APIKEY] [dry]
    reverse NAME [CREDITS] [key=KEY]          undo the spend of that name, whole or in part
    take PURCHASE CREDITS owe|leave [key=KEY]     its money went back; what was spent is owed, or left alone
    give PURCHASE CREDITS [owed] [key=KEY]     the money did not go back after all; or what was taken stays so
    hold CREDITS [as=NAME] [ttl=HOURS] [key=KEY] [by=APIKEY]
    capture NAME CREDITS [as=NAME] [key=KEY]   end a hold; `as` names the debit, to be reversed
    void NAME [key=KEY]
    extend NAME [CREDITS] [ttl=HOURS] [key=KEY]
    expire                                    the sweeper comes by
    wallet active|suspended|closed
    limit daily|call CREDITS|none
    apikey APIKEY [daily=CREDITS] [call=CREDITS]   a key of the account, with limits of its own
    alert CREDITS|none                        the threshold of a low balance; from here on a row ends with what is told
    overage refuse|spend                      what capturing more than was held does

A line that starts with `#` is a remark; a row's rows and facts may go on in the next line after `|  |`.
"""

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from msgspec.structs import replace as replaced

from engine.rules.commands import (
    Capture,
    Command,
    Expire,
    Extend,
    GiveBack,
    Hold,
    Outcome,
    Planned,
    Posted,
    Reverse,
    TakeBack,
    Void,
)
from engine.rules.errors import Refusal
from engine.rules.holds import HoldRules
from engine.rules.ledger import Transaction
from engine.rules.lots import BUCKETS, Bucket
from tests.engine.backends import Backend
from tests.engine.invariants import check
from tests.engine.support import DAY_0, bought, debit, gift

ACCOUNT = "acc_story"
SETTINGS = ("wallet", "limit", "apikey", "overage", "alert")
BUCKET_LETTERS: dict[str, Bucket] = dict(zip("LMR", BUCKETS, strict=True))


@dataclass(frozen=True, slots=True)
class Row:
    line: int
    day: str
    command: str
    outcome: str
    balance: str


@dataclass(frozen=True, slots=True)
class Story:
    name: str
    rows: tuple[Row, ...]


def read_stories(text: str) -> list[Story]:
    """The stories of one file; `ValueError` for a line that is not of the language."""
    stories: list[Story] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        if line.startswith("story "):
            stories.append(Story(line.removeprefix("story ").strip(), ()))
            continue
        cells = [" ".join(cell.split()) for cell in line.split("|")]
        if len(cells) != 4 or not stories:
            raise ValueError(f"line {number}: a row is day | command | outcome | balance")
        *rows, last = (*stories[-1].rows, Row(number, *cells))
        if cells[:2] == ["", ""]:
            before = rows.pop()
            last = replace(before, outcome=f"{before.outcome} {last.outcome}", balance=before.balance or last.balance)
        stories[-1] = replace(stories[-1], rows=(*rows, last))
    return stories


@dataclass
class Telling:
    """A story as it is told to one backend: names given so far, and the commands with their times."""

    backend: Backend
    lots: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    told: list[tuple[datetime, Command | str]] = field(default_factory=list)
    is_watched: bool = False

    def tell(self, row: Row) -> tuple[str, str]:
        """Carry the row's command out; what came of it and what the wallet holds, in the words of the language."""
        now = instant(row.day)
        verb, words, options = split_command(row.command)
        if verb in SETTINGS:
            set_up(self.backend, row.command)
            self.told.append((now, row.command))
            self.is_watched = self.is_watched or verb == "alert"
            return "nothing", self._balance()
        command = self._command(verb, words, options)
        before = self.backend.books(ACCOUNT)
        seen = len(before.rows)
        [outcome] = self.backend.post([command], now)
        self.told.append((now, command))
        books = self.backend.books(ACCOUNT)
        check(books)
        written = books.rows[seen:]
        if isinstance(outcome, Posted) and not outcome.replayed:
            if verb == "grant":
                self.lots[outcome.transactions[0].entries[0].lot_id] = words[0]
            if "as" in options:
                self.names[options["as"]] = named_by(outcome)
            assert written[len(written) - len(outcome.transactions) :] == outcome.transactions
        for lot in books.lots:
            self.lots.setdefault(lot.lot_id, f"new{sum(name.startswith('new') for name in self.lots.values()) + 1}")
        new = Counter(books.notices) - Counter(before.notices)
        notices = "".join(f"; tells {each}" for each in sorted(new.elements())) if self.is_watched else ""
        return self._outcome(written, outcome) + notices, self._balance()

    def _command(self, verb: str, words: list[str], options: dict[str, str]) -> Command:
        key = options.get("key")
        match verb, words:
            case "grant", [_, letter, credits]:
                until = instant(options["until"]) if "until" in options else None
                if "of" not in options:
                    given = gift(ACCOUNT, int(credits), BUCKET_LETTERS[letter], until=until, key=key)
                    step = options.get("campaign")
                    return given if step is None else replaced(given, reference_type="campaign", reference_id=step)
                assert letter == "R" and until is None, "what is bought lands in recharge and never expires"
                return replaced(bought(ACCOUNT, options["of"], int(credits), is_bonus="bonus" in options), key=key)
            case "spend", [credits]:
                spent = replaced(debit(ACCOUNT, int(credits), key=key), dry_run="dry" in options)
                return replaced(spent, api_key_id=options.get("by"))
            case "reverse", [name, *credits]:
                part = int(credits[0]) if credits else None
                spend_id = self.names.get(name, name)
                return Reverse(
                    account_id=ACCOUNT, actor="service", transaction_id=spend_id, credits=part, description="", key=key
                )
            case "take", [purchase, credits, "owe" | "leave" as mode]:
                return TakeBack(
                    account_id=ACCOUNT,
                    actor="provider",
                    type="refund" if mode == "owe" else "dispute",
                    purchase_id=purchase,
                    credits=int(credits),
                    owe=mode == "owe",
                    description="",
                    key=key,
                )
            case "give", [purchase, credits]:
                return GiveBack(
                    account_id=ACCOUNT,
                    actor="provider",
                    type="refund_failed",
                    purchase_id=purchase,
                    credits=int(credits),
                    description="",
                    only_owed="owed" in options,
                    key=key,
                )
            case "hold" | "capture" | "void" | "extend", _:
                return self._hold_command(verb, words, options)
            case "expire", []:
                return Expire(account_id=ACCOUNT, actor="system")
        raise ValueError(f"not a command of the language: {verb} {' '.join(words)}")

    def _hold_command(self, verb: str, words: list[str], options: dict[str, str]) -> Command:
        key, ttl = options.get("key"), int(options["ttl"]) * 3600 if "ttl" in options else None
        match verb, words:
            case "hold", [credits]:
                return Hold(
                    account_id=ACCOUNT,
                    actor="service",
                    credits=int(credits),
                    ttl_seconds=ttl,
                    api_key_id=options.get("by"),
                    key=key,
                )
            case "capture", [name, credits]:
                return Capture(
                    account_id=ACCOUNT,
                    actor="service",
                    hold_id=self.names.get(name, name),
                    credits=int(credits),
                    key=key,
                )
            case "void", [name]:
                return Void(account_id=ACCOUNT, actor="service", hold_id=self.names.get(name, name), key=key)
            case "extend", [name, *credits]:
                return Extend(
                    account_id=ACCOUNT,
                    actor="service",
                    hold_id=self.names.get(name, name),
                    credits=int(credits[0]) if credits else 0,
                    ttl_seconds=ttl,
                    key=key,
                )
        raise ValueError(f"not a command of the language: {verb} {' '.join(words)}")

    def _outcome(self, written: tuple[Transaction, ...], outcome: Outcome) -> str:
        parts = [self._row(row) for row in written]
        match outcome:
            case Refusal():
                parts.append(" ".join([outcome.code, *(f"{name}={value}" for name, value in outcome.facts.items())]))
            case Planned():
                draws = ", ".join(f"{self.lots[draw.lot_id]} {draw.credits}" for draw in outcome.draws)
                parts.append(f"would draw {draws} and leave {outcome.balance_after}")
            case Posted(replayed=True):
                parts.append("again " + "; ".join(self._row(row) for row in outcome.transactions))
        return "; ".join(parts) or "nothing"

    def _row(self, row: Transaction) -> str:
        legs = ", ".join(f"{self.lots[entry.lot_id]} {entry.credits:+d}" for entry in row.entries)
        if len(row.entries) == 1:
            return f"{row.type} {row.amount_credits:+d} {self.lots[row.entries[0].lot_id]}"
        return f"{row.type} {row.amount_credits:+d}: {legs}" if legs else f"{row.type} 0"

    def _balance(self) -> str:
        wallet = self.backend.books(ACCOUNT).wallet
        shown = " / ".join(str(credits) for credits in wallet.available)
        held = f" held {sum(wallet.held)}" if sum(wallet.held) else ""
        return shown + held + (f" debt {wallet.debt_credits}" if wallet.debt_credits else "")


def named_by(outcome: Posted) -> str:
    """What `as` names: the debit of a capture, the hold of a hold, else the transaction."""
    debits = [row for row in outcome.transactions if row.type == "debit"]
    first = (debits or outcome.transactions)[0]
    if first.type != "hold":
        return first.transaction_id
    assert first.reference_id is not None
    return first.reference_id


def set_up(backend: Backend, setting: str) -> None:
    """Change something that no command of the book changes: the wallet's status, its limits, the hold rules."""
    match setting.split():
        case ["wallet", status]:
            backend.set_status(ACCOUNT, status)
        case ["limit", "daily" | "call" as which, credits]:
            wallet = backend.books(ACCOUNT).wallet
            new = None if credits == "none" else int(credits)
            daily = new if which == "daily" else wallet.daily_limit_credits
            backend.set_limits(ACCOUNT, daily, new if which == "call" else wallet.per_call_limit_credits)
        case ["apikey", api_key_id, *limits]:
            named = {name: int(credits) for name, _, credits in (limit.partition("=") for limit in limits)}
            backend.set_key(ACCOUNT, api_key_id, named.get("daily"), named.get("call"))
        case ["alert", credits]:
            backend.set_threshold(ACCOUNT, None if credits == "none" else int(credits))
        case ["overage", "refuse" | "spend" as overage]:
            backend.terms = replace(backend.terms, holds=HoldRules(overage=overage))
        case _:
            raise ValueError(f"not a setting of the language: {setting}")


def split_command(command: str) -> tuple[str, list[str], dict[str, str]]:
    """`spend 5 key=a dry` → `("spend", ["5"], {"key": "a", "dry": ""})`."""
    verb, *rest = command.split()
    words = [word for word in rest if "=" not in word and word not in ("dry", "bonus", "owed")]
    options = dict(word.partition("=")[::2] for word in rest if word not in words)
    return verb, words, options


def instant(day: str) -> datetime:
    """`d3` is three days after the first, `d3+2h` two hours later."""
    matched = re.fullmatch(r"d(\d+)(?:\+(\d+)h)?", day)
    if matched is None:
        raise ValueError(f"not a day of the language: {day!r}")
    return DAY_0 + timedelta(days=int(matched[1]), hours=int(matched[2] or 0))


def batches(told: list[tuple[datetime, Command | str]]) -> list[tuple[datetime, list[Command] | str]]:
    """The commands of a telling in batches as large as they can be: one an instant, cut where a setting changes."""
    cut: list[tuple[datetime, list[Command] | str]] = []
    for now, step in told:
        if isinstance(step, str):
            cut.append((now, step))
        elif cut and cut[-1][0] == now and isinstance(cut[-1][1], list):
            cut[-1][1].append(step)
        else:
            cut.append((now, [step]))
    return cut
