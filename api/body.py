"""Requests as values: strict JSON bodies and query strings, and every failure names its field.

A body is UTF-8 JSON of a bounded size and depth, in which no key stands twice, no number is infinite, no text holds
a NUL or half a surrogate pair, and no field is unknown. Fields are camelCase. Credits are text of digits (an integer
is taken too): never a float, a sign, a blank or another script's digits.
"""

import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

from engine.rules.errors import Invalid
from engine.rules.money import CREDITS_MAX

T = TypeVar("T")

BODY_BYTES_MAX = 64 * 1024
BATCH_MAX = 1_000
DEPTH_MAX = 16
METADATA_BYTES_MAX = 4 * 1024
_DIGITS = re.compile(r"[0-9]{1,30}", re.ASCII)
_DOLLARS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,6})?", re.ASCII)
_PLACE = re.compile(r" - at `\$?(?P<path>[^`]*)`$")
_NAMED = re.compile(r"(?:unknown|required) field `(?P<name>[^`]+)`")


class Credits(int):
    """Credits in a request: 1 to `CREDITS_MAX`."""


class CreditCount(int):
    """Credits in a request where none is a valid answer: 0 to `CREDITS_MAX`."""


class Dollars(Decimal):
    """US dollars in a request: text of digits with at most six decimals."""


Line = Annotated[str, Meta(max_length=200)]
Description = Annotated[str, Meta(max_length=500)]
Metadata = dict[str, Any]


class Body(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What a request carries; a body's and a query's shape derive from it."""


class Batch(Body, frozen=True, kw_only=True):
    """A body whose items, `BATCH_MAX` at most, are read one by one with `read_item`, so that one stops no other.

    One that can't be parsed stops them all: the refusal names its place.
    """


class PageQuery(Body, frozen=True, kw_only=True):
    """Which part of a list is asked for: pages are counted from 1."""

    page: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


def read_body(raw: bytes, content_type: str, shape: type[T]) -> T:
    """The body as a value of `shape`, an empty one as `{}`; `Invalid` names the field (or `body`)."""
    if not raw:
        return read_value({}, shape)
    if not is_json(content_type):
        raise Invalid("body", "The Content-Type must be application/json.")
    try:
        tree = _parse(raw)
    except Invalid as refusal:
        if not issubclass(shape, Batch):
            raise
        raise _placed(refusal, raw) from None
    if b"\\u" in raw and not issubclass(shape, Batch):
        _check_texts(tree)
    return read_value(tree, shape)


def read_item(tree: object, shape: type[T]) -> T:
    """One item of a batch as a value of `shape`."""
    _check_texts(tree)
    return read_value(tree, shape)


@lru_cache(maxsize=32)
def is_json(content_type: str) -> bool:
    """`application/json`, with no charset or UTF-8's."""
    kind, _, rest = content_type.partition(";")
    charset = rest.strip().lower().replace('"', "")
    return kind.strip().lower() == "application/json" and charset in ("", "charset=utf-8")


def read_value(tree: object, shape: type[T], *, is_text: bool = False) -> T:
    """A parsed tree as a value of `shape`; with `is_text`, numbers and flags may be text, as in a query."""
    try:
        return msgspec.convert(tree, shape, dec_hook=read_custom, strict=not is_text)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error


def read_query(pairs: Iterable[tuple[str, str]], shape: type[T]) -> T:
    """A query string's pairs as a value of `shape`; a name that is unknown or stands twice is refused."""
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise Invalid(name, "This parameter stands there twice.")
        _check_text(name, value)
        found[name] = value
    return read_value(found, shape, is_text=True)


def metadata_text(metadata: Mapping[str, Any] | None, field: str = "metadata") -> str:
    """Metadata in its canonical form: JSON with sorted keys and no blanks, at most `METADATA_BYTES_MAX` bytes."""
    if not metadata:
        return "{}"
    text = json.dumps(metadata, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if len(text.encode()) > METADATA_BYTES_MAX:
        raise Invalid(field, f"Metadata is at most {METADATA_BYTES_MAX} bytes of JSON.")
    return text


def read_custom(kind: type, value: object) -> object:
    """msgspec's hook for the shapes of our own."""
    if kind is Dollars:
        return _dollars(value)
    if kind not in (Credits, CreditCount):
        raise NotImplementedError(f"no rule reads {kind}")
    least = 1 if kind is Credits else 0
    if type(value) is int or (isinstance(value, str) and _DIGITS.fullmatch(value)):
        credits = kind(value)
        if least <= credits <= CREDITS_MAX:
            return credits
    raise ValueError(f'Credits are text of digits, such as "800", from {least} to {CREDITS_MAX}')


def _dollars(value: object) -> Dollars:
    if (type(value) is int and 0 <= value <= CREDITS_MAX) or (isinstance(value, str) and _DOLLARS.fullmatch(value)):
        return Dollars(value)
    raise ValueError('US dollars are text of digits, such as "50.00", with at most six decimals')


def _parse(raw: bytes) -> object:
    tree = _parse_flat(raw)
    return _parse_any(raw) if tree is None else tree


def _parse_flat(raw: bytes) -> dict[str, Any] | None:
    """An object of plain values, several times as fast; `None` for whatever else it is, or may be.

    With as many fields as colons no key stands twice. What this parser takes, the other takes for the same.
    """
    if raw.count(b"{") != 1 or b"[" in raw or b"\\" in raw:
        return None
    try:
        tree = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return tree if isinstance(tree, dict) and len(tree) == raw.count(b":") else None


def _parse_any(raw: bytes) -> object:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("body", "The body is not UTF-8.") from error
    try:
        tree: object = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
    except RecursionError as error:
        raise Invalid("body", "The body is nested too deeply.") from error
    except ValueError as error:
        raise Invalid("body", "The body is not JSON.") from error
    if raw.count(b"{") + raw.count(b"[") > DEPTH_MAX:
        _check_depth(tree)
    return tree


def _placed(refusal: Invalid, raw: bytes) -> Invalid:
    """Why this batch can't be parsed, told of the item that is the reason, where it is one."""
    try:
        lists = msgspec.json.decode(raw, type=dict[str, list[msgspec.Raw]])
    except (ValueError, RecursionError):
        return refusal
    for name, items in lists.items():
        for place, item in enumerate(items[:BATCH_MAX]):
            try:
                _parse_any(b"[[%b]]" % bytes(item))  # as deep as it stands in the body
            except Invalid as why:
                within, field = f"{_printable(name)}[{place}]", why.facts["field"]
                return Invalid(within if field == "body" else f"{within}.{field}", why.detail)
    return refusal


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs, each key once."""
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Invalid(_printable(twice), "This field stands there twice.")
    return found


def _refuse_constant(name: str) -> object:
    raise Invalid("body", f"{name} is not JSON.")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Invalid("body", "A number is too large.")
    return value


def _check_depth(tree: object) -> None:
    level = [tree]
    for _ in range(DEPTH_MAX + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, dict):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return
        level = inner
    raise Invalid("body", f"The body is nested more than {DEPTH_MAX} levels deep.")


def _check_texts(tree: object, path: str = "") -> None:
    """Refuse text that no database keeps; only an escape can have brought it in."""
    if isinstance(tree, str):
        _check_text(path or "body", tree)
    elif isinstance(tree, dict):
        for name, inner in tree.items():
            _check_text(path or "body", name)
            _check_texts(inner, f"{path}.{name}" if path else name)
    elif isinstance(tree, list):
        for place, inner in enumerate(tree):
            _check_texts(inner, f"{path}[{place}]")


def _check_text(field: str, text: str) -> None:
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise Invalid(_printable(field), "Text may not hold a NUL or half a surrogate pair.")


def _printable(name: str) -> str:
    """A field's name as far as it can be shown."""
    return "".join(c if c.isprintable() else "?" for c in name)[:100]


def _invalid(message: str) -> Invalid:
    """msgspec's message as a refusal that names the field."""
    place = _PLACE.search(message)
    path = place["path"].removeprefix(".") if place else ""
    detail = message[: place.start()] if place else message
    named = _NAMED.search(detail)
    if named is not None:
        path = f"{path}.{named['name']}" if path else named["name"]
    return Invalid(_printable(path.replace("[...]", "")) or "body", detail.rstrip(".") + ".")
