"""Glyphs: text reduced to what the bundled fonts can draw, so that no host font and no empty box slips in."""

import unicodedata
from functools import cache
from pathlib import Path

from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

FONTS = Path(__file__).parent / "fonts"
FAMILY = "Noto Sans"
REPLACEMENT = "\ufffd"

_JOINERS_AND_MARKS = frozenset("\u200c\u200d\u200e\u200f\u061c")
_VARIATION_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))


def printable(text: str) -> str:
    """`text` composed (NFC) and on one line, without invisible controls that could reorder what is read, and with
    U+FFFD for each character that no bundled font has."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(filter(None, map(_printed, unicodedata.normalize("NFC", text))))


def _printed(character: str) -> str:
    if character.isspace() and character not in "\u00a0\u202f":
        return " "
    if character in _VARIATION_SELECTORS:
        return ""
    if unicodedata.category(character) in ("Cc", "Cf") and character not in _JOINERS_AND_MARKS:
        return ""
    return character if ord(character) in _drawable() else REPLACEMENT


@cache
def _drawable() -> frozenset[int]:
    """The code points that some family has in each of its faces."""
    families: dict[str, list[frozenset[int]]] = {}
    for path in sorted(FONTS.glob("*.ttf")):
        families.setdefault(path.stem.split("-")[0], []).append(_code_points(path))
    return frozenset().union(*(frozenset.intersection(*faces) for faces in families.values()))


def _code_points(path: Path) -> frozenset[int]:
    with TTFont(path, lazy=True) as font:
        return frozenset(font.getBestCmap())
