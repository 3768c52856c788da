"""The catalogue reference, written from the types that read a catalogue and the words that explain each key."""

import inspect
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import NODEFAULT, UNSET
from msgspec.inspect import (
    BoolType,
    DateTimeType,
    DateType,
    DecimalType,
    DictType,
    Field,
    IntType,
    LiteralType,
    NoneType,
    StrType,
    StructType,
    UnionType,
    VarTupleType,
    type_info,
)

from engine.rules.catalog import Catalog
from engine.rules.descriptions import PLACEHOLDERS, Descriptions
from engine.rules.money import CREDITS_MAX
from tests.docs.words import WORDS

INTRODUCTION = """\
# The catalogue

A catalogue is one TOML file that says everything priced, counted or limited. `PURSER_CATALOG` names it: `alphio`,
`acn` or `ecolink` (they ship with Purser, in `engine/catalogs/`, and make good beginnings) or a path. `purser catalog
check FILE` reads one and says what is wrong with it and where. Unknown keys are refused, and so are rules that
contradict each other. The file is read when a process starts: change it, check it, start again. What was quoted or
sold keeps its old terms.

Money is an integer of minor units (cents for USD), credits are integers; no integer is larger than 10^15. A key with
no default must be there.

This page is generated from the types: `make docs` writes it.
"""


def catalogue_page() -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *_table(Catalog, "")])


def _table(kind: type[Any], path: str, *, repeats: bool = False) -> Iterator[str]:
    """A table of the file: its heading, what its type says, its keys; then the tables inside it."""
    title = "At the top of the file" if not path else f"`[[{path}]]`" if repeats else f"`[{path}]`"
    yield f"## {title}\n"
    yield f"{_sentences(kind)}\n"
    yield "| key | value | default | says |"
    yield "|---|---|---|---|"
    info = type_info(kind)
    assert isinstance(info, StructType)
    inner = []
    for field in info.fields:
        yield f"| `{field.encode_name}` | {_value(field.type)} | {_default(field)} | {says(kind, field)} |"
        inner += [(each, _path(path, field.encode_name), many) for each, many in _structs(field.type)]
    yield ""
    for each, place, many in inner:
        yield from _table(each, place, repeats=many)


def _path(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _sentences(kind: type[Any]) -> str:
    return " ".join(inspect.cleandoc(kind.__doc__ or "").split())


def says(kind: type[Any], field: Field) -> str:
    """What the key says; a template's names where it is one."""
    if kind is Descriptions:
        names = ", ".join(f"`{{{name}}}`" for name in sorted(PLACEHOLDERS[field.name]))
        return f"may use {names}" if names else "plain text"
    return WORDS[f"{kind.__name__}.{field.name}"]


def _structs(shape: Any) -> Iterator[tuple[type[Any], bool]]:
    """The tables that a value is made of, each with whether it may stand several times."""
    match shape:
        case StructType(cls=cls):
            yield cls, False
        case VarTupleType(item_type=StructType(cls=cls)):
            yield cls, True
        case UnionType(types=types):
            for each in types:
                yield from _structs(each)


def _value(shape: Any) -> str:
    """What may stand there, in words."""
    match shape:
        case StructType():
            return "table"
        case VarTupleType(item_type=StructType()):
            return "tables"
        case VarTupleType(item_type=item):
            return f"list of {_value(item)}"
        case UnionType(types=types):
            return " or ".join(_value(each) for each in types if not isinstance(each, NoneType))
        case LiteralType(values=values):
            return ", ".join(f"`{value}`" for value in values)
        case IntType(ge=least, le=most):
            return f"integer from {least}" if most == CREDITS_MAX else f"integer {least:,} to {most:,}"
        case DictType(value_type=value):
            return f"table of {_value(value)}"
        case StrType(pattern=pattern, max_length=longest):
            return _text(pattern, longest)
    names = {
        BoolType: "`true` or `false`",
        DecimalType: "number",
        DateTimeType: "instant with its offset",
        DateType: "day",
    }
    return names[type(shape)]


def _text(pattern: str | None, longest: int | None) -> str:
    words = {
        r"\A[A-Z]{2}\Z": "country code (two letters)",
        r"\A[^@\s]+@[^@\s]+\.[^@\s]+\Z": "e-mail address",
        r"\Ahttps?://[^\s]+\Z": "URL",
        r"\A[^\x00-\x1f\x7f]*\Z": f"one line, at most {longest}",
        None: "text" if longest is None else f"text, at most {longest}",
    }
    if pattern in words:
        return words[pattern]
    assert pattern is not None
    bare = pattern.removeprefix(r"\A").removesuffix(r"\Z").replace("|", r"\|")
    return f"text like `{bare}`"


def _default(field: Field) -> str:
    """What holds where the key is not there; nothing where it must be."""
    if field.required:
        return ""
    value = field.default_factory() if field.default_factory is not NODEFAULT else field.default
    if value is None or value is UNSET or value == () or value == {} or value == "":
        return "none"
    if isinstance(value, msgspec.Struct):
        return "see below"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
