"""The files last and are read by everybody: PDF/A-3, PDF/UA's structure, sound syntax, embedded fonts, long tables."""

import io
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pikepdf
import pytest
from msgspec.structs import replace
from pikepdf import pdfa

from engine.rules.document_data import LINES_MAX, Line
from engine.rules.documents import Document, canonical, read
from engine.rules.money import Money
from receipts.page import PAGES_MAX
from receipts.render import RenderFailed
from tests.receipts.inspect_pdf import text_lines
from tests.receipts.kinds import LOCALES, an_invoice, documents
from tests.receipts.test_press import in_process_press

Pdf = Callable[[Document], bytes]
pytestmark = pytest.mark.filterwarnings("ignore:[^$]*sRGB2014:pytest.PytestUnraisableExceptionWarning")
"""WeasyPrint leaves its own colour profile to the garbage collector to close."""

EVERY = {f"{name} {locale}": document for locale in LOCALES for name, document in documents(locale).items()}

UNKNOWN_TO_CHECKER = {"ISO_19005_3:6.6.2.3.1-1", "ISO_19005_3:6.6.4-3"}
"""The checker knows no extension schemas, though ours are declared as PDF/A asks (6.6.2.3.1-1), and checks level B
where we claim A (6.6.4-3). Anything else is a fault."""

DECLARED = ("pdfaExtension", "pdfaSchema", "pdfaProperty", "pdfuaid", "fx", "pdfaid:conformance is 'A'")


def write(pdf: bytes, directory: Path) -> Path:
    path = directory / "document.pdf"
    path.write_bytes(pdf)
    return path


def findings(path: Path) -> list[Any]:
    """What the checker of PDF/A-3b says that is not about our declared schemas."""
    found = pdfa.validate_written(str(path), "3b").findings
    assert found, "it always finds the declared schemas: silence means that it did not look"
    return [f for f in found if f.rule not in UNKNOWN_TO_CHECKER or not any(name in str(f) for name in DECLARED)]


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_in_every_language_is_archival_and_sound(pdf: Pdf, tmp_path: Path, name: str) -> None:
    path = write(pdf(EVERY[name]), tmp_path)
    assert findings(path) == []
    subprocess.run(["qpdf", "--check", str(path)], check=True, capture_output=True)
    listed = subprocess.run(["pdffonts", str(path)], check=True, capture_output=True, encoding="utf-8").stdout
    fonts = [line.split() for line in listed.splitlines()[2:]]
    assert fonts and all(line[1:3] == ["CID", "TrueType"] and line[4:7] == ["yes"] * 3 for line in fonts), listed


def test_what_is_not_archival_is_found(pdf: Pdf, tmp_path: Path) -> None:
    """The control: without its colour profile, or with a script, a file is no archive."""
    with pikepdf.open(io.BytesIO(pdf(an_invoice()))) as opened:
        del opened.Root.OutputIntents
        opened.save(tmp_path / "one.pdf")
        opened.Root.OpenAction = pikepdf.Dictionary(S=pikepdf.Name.JavaScript, JS="app.alert(1)")
        opened.save(tmp_path / "two.pdf")
    one, two = (findings(tmp_path / f"{name}.pdf") for name in ("one", "two"))
    assert one and len(two) > len(one)


def tags(opened: pikepdf.Pdf) -> Iterator[tuple[str, Any]]:
    """Each structure element in reading order, with its tag."""

    def walk(element: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(element, pikepdf.Array):
            for child in element:
                yield from walk(child)
        elif isinstance(element, pikepdf.Dictionary) and "/S" in element:
            yield str(element.S), element
            if "/K" in element:
                yield from walk(element.K)

    yield from walk(opened.Root.StructTreeRoot.K)


@pytest.mark.parametrize("name", [name for name in EVERY if name.startswith(("invoice", "cancel", "refund"))])
def test_a_screen_reader_finds_title_headings_and_tables(pdf: Pdf, name: str) -> None:
    with pikepdf.open(io.BytesIO(pdf(EVERY[name]))) as opened:
        root = opened.Root
        assert bool(root.MarkInfo.Marked) and bool(root.ViewerPreferences.DisplayDocTitle)
        assert str(root.Lang) == name.split()[1]
        assert str(opened.docinfo["/Title"]).endswith(EVERY[name].number)
        found = list(tags(opened))
        names = [tag for tag, _ in found]
        assert names.count("/H1") == 1 and names.index("/H1") < names.index("/H2")
        assert names.count("/Table") >= 3
        assert all("/TH" in [tag for tag, _ in cells(table)] for tag, table in found if tag == "/Table")
        assert all("/Alt" in element for tag, element in found if tag == "/Figure")
        assert all(page.Tabs == pikepdf.Name.S for page in opened.pages if "/Tabs" in page)


def cells(table: Any) -> list[tuple[str, Any]]:
    """Everything below a table."""
    found: list[tuple[str, Any]] = []
    todo = [table.K]
    while todo:
        element = todo.pop()
        if isinstance(element, pikepdf.Array):
            todo.extend(element)
        elif isinstance(element, pikepdf.Dictionary) and "/S" in element:
            found.append((str(element.S), element))
            if "/K" in element:
                todo.append(element.K)
    return found


def test_the_longest_document_is_printed_whole_with_its_head_on_every_page(pdf: Pdf, tmp_path: Path) -> None:
    lines = tuple(
        Line(key="subscription", detail=f"seat {n}", credits=n, amount_minor=n) for n in range(1, LINES_MAX + 1)
    )
    document = an_invoice(lines=lines, price=Money(sum(range(1, LINES_MAX + 1)), "EUR"))
    made = pdf(document)
    with pikepdf.open(io.BytesIO(made)) as opened:
        pages = len(opened.pages)
    assert 20 < pages < PAGES_MAX
    said = text_lines(made, tmp_path)
    assert f"Subscription seat {LINES_MAX} 1,000 credits EUR 10.00" in said
    tables = sum(line == "Description Quantity Amount" for line in said)
    assert pages - 2 <= tables <= pages, "the head of the table stands on every page that it reaches"
    assert f"{document.number} {pages} / {pages}" in said
    assert findings(write(made, tmp_path)) == []


def test_what_is_longer_than_any_document_is_not_printed() -> None:
    page = "<p style='break-after: page'>x</p>"
    with pytest.raises(RenderFailed, match="pages are more than"):
        in_process_press(f"<html lang=en><title>t</title>{page * (PAGES_MAX + 1)}")


def test_a_document_longer_than_the_limit_does_not_exist() -> None:
    line = Line(key="top_up", credits=0, amount_minor=0)
    document = an_invoice()
    longer = replace(document, lines=(*document.lines, *[line] * LINES_MAX))
    with pytest.raises(ValueError, match=f"length <= {LINES_MAX}"):
        read(canonical(longer))
