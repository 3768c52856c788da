"""Stripe's own types as a contract: request parameters and JSON objects held against the installed SDK.

Parameters are the SDK's TypedDicts, made closed, so a field that Stripe does not know is found at any depth.
Objects are walked along the annotations of the SDK's resource classes. Both know the API version the client
sends, which is the one the adapter relies on.
"""

import ast
import importlib
import inspect
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any, ForwardRef, Generic, Literal, TypeVar, Union, cast, get_args, get_origin

import stripe
import typing_extensions
from pydantic import ConfigDict, TypeAdapter, ValidationError
from stripe._object_classes import get_object_class
from stripe._stripe_object import StripeObject, UntypedStripeObject

_T = TypeVar("_T")
_LITERALS = (Literal, typing_extensions.Literal)
_UNIONS = (Union, types.UnionType)


class _Untyped(Generic[_T]):
    """Stands where the SDK takes its own untyped object as well as a dict."""


def read_params(params_type: type, given: dict[str, Any]) -> dict[str, Any]:
    """`given` with its texts read as the types the SDK names (`"2500"` as 2500); `ValueError` tells what is wrong."""
    try:
        return cast(dict[str, Any], _closed(params_type).validate_python(given))
    except ValidationError as error:
        raise ValueError("; ".join(f"{_path(e['loc'])}: {e['msg']}" for e in error.errors())) from error


def object_problems(told: object, closed_enums: bool = False) -> list[str]:
    """What is wrong with a JSON object of Stripe's: unknown fields, missing ones, other types; empty when nothing.

    The SDK's enums are open (`Literal[…] | str`): with `closed_enums` a value that it does not list is wrong too.
    """
    if not isinstance(told, dict) or not isinstance(told.get("object"), str):
        return [f"not an object of Stripe's: {told!r:.80}"]
    return _Walk(closed_enums).problems(told, get_object_class("V1", told["object"]), told["object"])


def enum_values(params_type: type, field: str) -> frozenset[str]:
    """The values the SDK lists for a parameter that is an enum."""
    annotation = _resolved(params_type.__annotations__[field], params_type.__module__)
    return frozenset(_listed(annotation))


def _listed(annotation: Any) -> Iterator[str]:
    """The values of every enum in an annotation, at any depth."""
    if get_origin(annotation) in _LITERALS:
        yield from get_args(annotation)
        return
    for part in get_args(annotation):
        yield from _listed(part)


def _path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location)


@cache
def _closed(params_type: type) -> TypeAdapter[Any]:
    """A TypedDict of the SDK and every TypedDict beside it, with unknown fields forbidden."""
    for module_name in (params_type.__module__, "stripe._request_options"):
        module = importlib.import_module(module_name)
        stand_ins = {"Mapping": Mapping, "StripeContext": str, "UntypedStripeObject": _Untyped}
        for name, stand_in in stand_ins.items():
            setattr(module, name, stand_in)
        for found in list(vars(module).values()):
            if typing_extensions.is_typeddict(found):
                found.__pydantic_config__ = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return TypeAdapter(params_type)


@cache
def _names(module_name: str) -> dict[str, Any]:
    """A module's names, with those it imports for type checkers only."""
    module = importlib.import_module(module_name)
    names = dict(vars(module))
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for imported in node.body:
                assert isinstance(imported, ast.ImportFrom) and imported.module
                if ".params" in imported.module:
                    continue
                source = importlib.import_module(imported.module)
                names |= {a.asname or a.name: getattr(source, a.name) for a in imported.names}
    return names


@cache
def _fields(resource: type) -> dict[str, Any]:
    """The annotated fields of a resource class and its bases, resolved as far as the outermost text."""
    fields: dict[str, Any] = {}
    for base in reversed(resource.__mro__):
        if not issubclass(base, StripeObject) or base.__module__ == "stripe._stripe_object":
            continue
        for name, annotation in inspect.get_annotations(base).items():
            if not name.startswith("_") and name != "OBJECT_NAME":
                fields[name] = _resolved(annotation, base.__module__)
    return fields


def _resolved(annotation: Any, module_name: str) -> Any:
    if isinstance(annotation, ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        return _resolved(eval(annotation, _names(module_name)), module_name)
    parts = get_args(annotation)
    if not parts or get_origin(annotation) in _LITERALS:
        return annotation
    resolved = tuple(_resolved(part, module_name) for part in parts)
    if get_origin(annotation) in _UNIONS:
        return Union[resolved]  # noqa: UP007
    return cast(Any, get_origin(annotation))[resolved if len(resolved) > 1 else resolved[0]]


@dataclass(frozen=True, slots=True)
class _Walk:
    closed_enums: bool

    def problems(self, value: object, wanted: Any, path: str) -> list[str]:
        origin, parts = get_origin(wanted), get_args(wanted)
        if origin in _UNIONS:
            return self._union_problems(value, parts, path)
        if origin in _LITERALS:
            return [] if value in parts else [f"{path}: {value!r} is none of {parts}"]
        if origin is list:
            return self._list_problems(value, parts[0], path)
        if origin in (dict, UntypedStripeObject) or wanted in (dict, UntypedStripeObject):
            return [] if isinstance(value, dict) else [f"{path}: not an object"]
        if origin is stripe.ListObject:
            items = value.get("data") if isinstance(value, dict) else None
            return self._list_problems(items, parts[0], f"{path}.data")
        if isinstance(wanted, type) and issubclass(wanted, StripeObject):
            return self._object_problems(value, wanted, path)
        return [] if _is_scalar(value, wanted) else [f"{path}: {value!r:.60} is not {wanted}"]

    def _union_problems(self, value: object, parts: tuple[Any, ...], path: str) -> list[str]:
        """The problems with the alternative that fits best."""
        if value is None and type(None) in parts:
            return []
        has_literal = any(get_origin(part) in _LITERALS for part in parts)
        is_closed = self.closed_enums and has_literal
        left_out = {type(None), str} if is_closed or isinstance(value, dict) else {type(None)}
        return min((self.problems(value, part, path) for part in parts if part not in left_out), key=len)

    def _list_problems(self, value: object, wanted: Any, path: str) -> list[str]:
        if not isinstance(value, list):
            return [f"{path}: not a list"]
        return [p for i, item in enumerate(value) for p in self.problems(item, wanted, f"{path}[{i}]")]

    def _object_problems(self, value: object, resource: type, path: str) -> list[str]:
        if not isinstance(value, dict):
            return [f"{path}: not an object"]
        fields = _fields(resource)
        problems = [f"{path}.{name}: unknown" for name in value if name not in fields]
        for name, wanted in fields.items():
            if name in value:
                problems += self.problems(value[name], wanted, f"{path}.{name}")
            elif type(None) not in get_args(wanted) and name != "deleted":
                problems.append(f"{path}.{name}: missing")
        return problems


def _is_scalar(value: object, wanted: Any) -> bool:
    if wanted is Any or wanted is object:
        return True
    if wanted is Decimal:
        return isinstance(value, str)
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is wanted
