"""What is inside a PDF: its text, the place of each word, its fonts."""

import io
import re
import subprocess
from pathlib import Path

import pikepdf


def text_lines(pdf: bytes, directory: Path) -> list[str]:
    """The text in drawing order, one entry a line, every kind of space a plain one."""
    return [line for raw in _poppler(pdf, directory, "-raw").splitlines() if (line := " ".join(raw.split()))]


def word_boxes(pdf: bytes, directory: Path) -> list[tuple[str, float, float]]:
    """Each word with its left and right edge in points."""
    found = re.findall(
        r'<word xMin="([0-9.-]+)"[^>]*xMax="([0-9.-]+)"[^>]*>(.*?)</word>', _poppler(pdf, directory, "-bbox")
    )
    return [(word, float(left), float(right)) for left, right, word in found]


def font_names(pdf: bytes) -> set[str]:
    """The base fonts without their subset tags."""
    with pikepdf.open(io.BytesIO(pdf)) as opened:
        fonts = [o for o in opened.objects if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/Font"]
        return {str(font.BaseFont).lstrip("/").split("+")[-1] for font in fonts}


def _poppler(pdf: bytes, directory: Path, option: str) -> str:
    path = directory / "document.pdf"
    path.write_bytes(pdf)
    return subprocess.run(
        ["pdftotext", option, str(path), "-"], check=True, capture_output=True, encoding="utf-8"
    ).stdout
