"""Forms: what a customer typed, read as the API reads it, and shown again beside what is wrong with it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, TypeVar

from litestar import Response

from api.body import read_value
from api.pages.frame import Visit
from api.pages.tongues import Tongue
from api.scope import Call
from engine.rules.catalog import Unit
from engine.rules.errors import Invalid, Refusal
from engine.rules.money import CREDITS_MAX, credits_of_usd

T = TypeVar("T")

_DOLLAR_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class Form:
    """One form as it is shown: its values by field, and, when it was refused, the field that is wrong and why."""

    values: Mapping[str, str] = field(default_factory=dict)
    is_refused: bool = False
    field: str = ""
    problem: str = ""

    def value(self, name: str) -> str:
        return self.values.get(name, "")

    def problem_of(self, name: str) -> str:
        """What is wrong with this field, or nothing."""
        return self.problem if self.field == name else ""

    @property
    def general(self) -> str:
        """What is wrong with the form as a whole."""
        return "" if self.field in self.values else self.problem


def refused(visit: Visit, values: Mapping[str, str], refusal: Refusal, fields: Mapping[str, str]) -> Form:
    """The form as it was sent, with the refusal at its field: `fields` leads from the API's names to the form's."""
    named = str(refusal.facts.get("field", ""))
    return Form({**values, **visit.form}, True, fields.get(named, named), visit.tongue.say(refusal.detail))


def call_of(visit: Visit, shape: type[T], payload: Mapping[str, object], **path: str) -> Call[T]:
    """What the API's handler is asked, as if the customer had sent this body; the form's view is its key."""
    return call(visit, read_value(dict(payload), shape), **path)


def bare_call(visit: Visit, **path: str) -> Call[None]:
    """The same for a handler that takes no body."""
    return call(visit, None, **path)


def call(visit: Visit, ask: T, **path: str) -> Call[T]:
    return Call(visit.site, visit.request, visit.principal, visit.account_id, path, ask, visit.form.get("view") or None)


def text_or_none(text: str) -> str | None:
    """A field that was left empty says that there is nothing."""
    return text.strip() or None


def read_credits(visit: Visit, name: str) -> int | None:
    """The credits that a field names, in the catalogue's unit: a whole number, or dollars; empty is `None`."""
    return parse_credits(visit.form.get(name, ""), visit.runtime.catalog.unit, visit.tongue, name)


def parse_credits(text: str, unit: Unit, tongue: Tongue, name: str) -> int | None:
    """`12,500` or, where dollars are shown, `12.50` as credits; `Invalid` for anything else, naming the field."""
    bare = "".join(text.split()).removeprefix("$").removesuffix("$").removesuffix("USD")
    if not bare:
        return None
    group, point = tongue.group.strip() or " ", tongue.decimal
    grouped = rf"[0-9]{{1,3}}(?:{re.escape(group)}[0-9]{{3}})+"
    whole, _, part = bare.partition(point)
    if re.fullmatch(grouped, whole, re.ASCII):
        whole = whole.replace(group, "")
    is_number = re.fullmatch(r"[0-9]{1,16}", whole, re.ASCII) and re.fullmatch(r"[0-9]*", part, re.ASCII)
    if unit.display == "usd":
        if not is_number or len(part) > _DOLLAR_DECIMALS:
            raise Invalid(name, "Type an amount such as 25 or 25.50.")
        assert unit.credits_per_usd is not None
        credits = credits_of_usd(Decimal(f"{whole}.{part or '0'}"), unit.credits_per_usd)
    elif not is_number or part or point in bare:
        raise Invalid(name, "Type a whole number, such as 500.")
    else:
        credits = int(whole)
    if credits > CREDITS_MAX:
        raise Invalid(name, "That is more than a wallet can hold.")
    return credits


def credits_text(credits: int | str | None, unit: Unit, tongue: Tongue) -> str:
    """Credits as a field shows them: what `parse_credits` reads again."""
    if credits is None:
        return ""
    count = int(credits)
    if unit.display != "usd":
        return str(count)
    assert unit.credits_per_usd is not None
    whole, part = divmod(count * 1_000_000 // unit.credits_per_usd, 1_000_000)
    return f"{whole}{tongue.decimal}{f'{part:06d}'.rstrip('0').ljust(2, '0')}"


def see_other(path: str) -> Response[Any]:
    """After a form was carried out: on to a page that can be loaded again without doing it twice."""
    return Response(None, status_code=303, headers={"location": path})
