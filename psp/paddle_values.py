"""Paddle's amounts and times, read from its JSON: strings of digits in minor units, instants as versions."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MINOR = re.compile(r"-?[0-9]{1,18}")


def version_of(paddle_object: dict[str, Any]) -> int:
    """When an object last changed, by Paddle's own word, in microseconds: it orders two sightings."""
    at = datetime.fromisoformat(paddle_object.get("updated_at") or paddle_object["created_at"])
    return (at - _EPOCH) // timedelta(microseconds=1)


def minor_of(text: object) -> int:
    """An amount as Paddle writes it: a string of digits in minor units."""
    if not isinstance(text, str) or _MINOR.fullmatch(text) is None:
        raise ValueError(f"not an amount in minor units: {text!r}")
    return int(text)
