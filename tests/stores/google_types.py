"""Google's own discovery document, where it is at hand: is what the fake says, and is asked, of Google's shape?"""

import json
from functools import cache
from pathlib import Path
from typing import Any

CONTRACT = Path(__file__).resolve().parents[2].parent / "shared" / "contracts" / "google" / "androidpublisher.v3.json"
_KINDS: dict[str, type | tuple[type, ...]] = {"string": str, "integer": int, "boolean": bool, "array": list}


@cache
def document() -> dict[str, Any] | None:
    """The document, or `None` where the folder of contracts is absent."""
    return json.loads(CONTRACT.read_text(encoding="utf-8")) if CONTRACT.is_file() else None


def problems(told: dict[str, Any], name: str, place: str = "") -> list[str]:
    """Where an object is not of the named schema: an unknown field, another type, another enum value."""
    described = document()
    if described is None:
        return []
    found = []
    properties = described["schemas"][name].get("properties", {})
    for field, value in told.items():
        here = f"{place}{name}.{field}"
        if field not in properties:
            found.append(f"{here} is unknown")
        else:
            found += _value_problems(value, properties[field], here)
    return found


def _value_problems(value: Any, shape: dict[str, Any], here: str) -> list[str]:
    if "$ref" in shape:
        return problems(value, shape["$ref"], f"{here} → ")
    if shape["type"] == "array":
        return [p for n, each in enumerate(value) for p in _value_problems(each, shape["items"], f"{here}[{n}]")]
    if not isinstance(value, _KINDS[shape["type"]]) or (shape["type"] == "integer" and isinstance(value, bool)):
        return [f"{here} is no {shape['type']}: {value!r}"]
    if "enum" in shape and value not in shape["enum"]:
        return [f"{here} can't be {value!r}"]
    return []
