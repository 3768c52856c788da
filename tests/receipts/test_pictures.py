"""What documents look like: each kind in each script against its picture, at 100 dpi, with a tolerance for edges.

A picture that changed with reason is made anew by `python -m tests.receipts.test_pictures` and looked at.
"""

import io
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace
from PIL import Image, ImageChops

from engine.rules.documents import Buyer, Document
from tests.receipts.kinds import documents
from tests.receipts.samples import a_receipt

Pdf = Callable[[Document], bytes]
PICTURES = Path(__file__).parent / "pictures"
DPI = 100
SCRIPTS = ("de", "ja", "zh", "ar")
FAR = 96
"""How far a pixel's grey may be off where an edge falls a little differently."""

PIXELS_OFF_MAX = 60
"""Of a million: less than one letter."""

GREEK_AND_CYRILLIC = Buyer(
    name="Αλέξανδρος Παράδειγμα",
    company="ООО «Пример»",
    email="alex@customer.example",
    address_lines=("Οδός Παραδείγματος 5", "ул. Примерная, д. 8", "ЗАО Ґудзик"),
    country="GR",
)
HOSTILE = Buyer(
    name="<b>Bob</b> \u202egnp.exe\u202c 山田 نور \U0001f600",
    company="Ŵ" * 200,
    email="a@b.example",
    address_lines=("i" * 200, "שלום 12 Main St", "a\u0301\u0323" * 40),
    country="ZZ",
)
CASES: dict[str, Document] = {
    f"{name}_{script}": document for script in SCRIPTS for name, document in documents(script).items()
} | {
    "receipt_greek_cyrillic": a_receipt(buyer=GREEK_AND_CYRILLIC),
    "receipt_hostile": a_receipt(buyer=HOSTILE),
    "receipt_hostile_ar": a_receipt(buyer=HOSTILE, locale="ar"),
}


def picture(pdf: bytes) -> Image.Image:
    """The first page in grey."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "document.pdf"
        path.write_bytes(pdf)
        drawn = subprocess.run(
            ["pdftoppm", "-r", str(DPI), "-gray", "-singlefile", str(path)], check=True, capture_output=True
        ).stdout
    return Image.open(io.BytesIO(drawn)).convert("L")


def pixels_off(one: Image.Image, other: Image.Image) -> int:
    """How many pixels differ by more than an edge does."""
    if one.size != other.size:
        return one.width * one.height
    return sum(ImageChops.difference(one, other).histogram()[FAR:])


@pytest.mark.parametrize("name", CASES)
def test_a_document_looks_as_it_did(pdf: Pdf, name: str) -> None:
    with Image.open(PICTURES / f"{name}.png") as kept:
        off = pixels_off(picture(pdf(CASES[name])), kept.convert("L"))
    assert off <= PIXELS_OFF_MAX, f"{off} pixels differ"


def test_a_digit_that_changed_is_seen(pdf: Pdf) -> None:
    document = CASES["receipt_de"]
    other = picture(pdf(replace(document, order_id=document.order_id[:-1] + "7")))
    with Image.open(PICTURES / "receipt_de.png") as kept:
        off = pixels_off(other, kept.convert("L"))
    assert off > 0
    moved = picture(pdf(replace(document, balance_after_credits=77_777)))
    with Image.open(PICTURES / "receipt_de.png") as kept:
        assert pixels_off(moved, kept.convert("L")) > PIXELS_OFF_MAX


def test_every_picture_has_its_document() -> None:
    assert {path.stem for path in PICTURES.glob("*.png")} == set(CASES)


def main() -> None:
    """Draw every picture again, in sixteen greys."""
    from receipts.worker import render_pdf

    PICTURES.mkdir(exist_ok=True)
    for path in PICTURES.glob("*.png"):
        path.unlink()
    for name, document in CASES.items():
        picture(render_pdf(document)).quantize(32).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
