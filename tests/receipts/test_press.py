"""The press is hermetic: nothing from outside gets in, the same document is the same bytes, the file is accessible."""

import hashlib
import http.server
import io
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pikepdf
import pytest

from engine.rules.documents import Buyer, Document, canonical
from receipts import RenderFailed
from receipts.worker import render_pdf
from tests.receipts.inspect_pdf import font_names, text_lines, word_boxes
from tests.receipts.kinds import LOCALES, abroad, an_invoice, documents
from tests.receipts.samples import BUYER, a_credit_note, a_receipt

Pdf = Callable[[Document], bytes]
pytestmark = pytest.mark.filterwarnings("ignore:[^$]*sRGB2014:pytest.PytestUnraisableExceptionWarning")
"""WeasyPrint leaves its own colour profile to the garbage collector to close."""

ROOT = Path(__file__).parents[2]
MARGIN_POINTS, PAGE_POINTS = 20 / 25.4 * 72, 210 / 25.4 * 72

MARKUP = (
    '<img src="URL">',
    '<link rel="stylesheet" href="URL">',
    '<link rel="attachment" href="URL">',
    '<style>@import "URL";</style>',
    '<style>@font-face { font-family: x; src: url("URL"); }</style><p style="font-family: x">x</p>',
    '<p style="background-image: url(URL)">x</p>',
    '<object data="URL"></object>',
    '<embed src="URL">',
    '<svg xmlns="http://www.w3.org/2000/svg"><image href="URL" width="9" height="9"/></svg>',
)
URLS = ("file:///etc/passwd", "data:text/plain,x", "asset:1/document.html", "asset:../page.py", "relative")
CASES = [*((markup, "") for markup in MARKUP), *((MARKUP[0], url) for url in URLS)]

HASH_OF_PDF = """
import hashlib, sys
from engine.rules.documents import read
from receipts.render import render_pdf
print(hashlib.sha256(render_pdf(read(sys.stdin.buffer.read()))).hexdigest())
"""

HOSTILE = Buyer(
    name='<b>Bob</b> <img src="http://127.0.0.1:9/x">{{ 7 * 7 }} \U0001f600 \u202egnp.exe\u202c 山田 \x07',
    company="W" * 200,
    email="a@b.example",
    address_lines=("i" * 200, "&amp; <script>alert(1)</script>"),
    country="ZZ",
)


@pytest.mark.parametrize(("seed", "zone", "language"), [("1", "Asia/Tokyo", "C"), ("2", "America/New_York", "C.UTF-8")])
def test_the_same_document_is_the_same_bytes_in_any_process(
    pdf: Pdf, seed: str, zone: str, language: str, tmp_path: Path
) -> None:
    document = an_invoice(locale="ja")
    environment = os.environ | {
        "PYTHONHASHSEED": seed,
        "TZ": zone,
        "LC_ALL": language,
        "PYTHONPATH": str(ROOT),
        "HOME": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", HASH_OF_PDF],
        input=canonical(document),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().strip() == hashlib.sha256(pdf(document)).hexdigest()
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == [], "nothing is written to the home directory"


def test_another_document_is_another_file(pdf: Pdf) -> None:
    assert pdf(a_receipt()) != pdf(a_receipt(document_id="doc_other"))


def test_only_bundled_fonts_are_used_whatever_the_text(pdf: Pdf) -> None:
    latin = {"Noto-Sans", "Noto-Sans-Bold"}
    assert font_names(pdf(a_receipt())) == latin
    assert font_names(pdf(a_receipt(buyer=HOSTILE))) == latin | {"Noto-Sans-JP"}
    bundled = latin | {f"Noto-Sans-{script}{face}" for script in ("Arabic", "JP", "SC") for face in ("", "-Bold")}
    for locale in LOCALES:
        for document in documents(locale).values():
            assert font_names(pdf(document)) <= bundled


def test_hostile_text_is_printed_as_text(pdf: Pdf, tmp_path: Path) -> None:
    made = pdf(a_receipt(buyer=HOSTILE))
    text = "".join("".join(text_lines(made, tmp_path)).split())
    assert '<b>Bob</b><imgsrc="http://127.0.0.1:9/x">{{7*7}}' in text
    assert "&amp;<script>alert(1)</script>" in text
    assert "\ufffdgnp.exe山田" in text, "what no font has is shown as missing, overrides are dropped"
    assert "W" * 200 in text
    assert "i" * 200 in text


@pytest.mark.parametrize("locale", LOCALES)
@pytest.mark.parametrize("buyer", [BUYER, HOSTILE])
def test_every_word_stays_inside_the_margins(pdf: Pdf, tmp_path: Path, locale: str, buyer: Buyer) -> None:
    original = a_receipt(locale=locale, buyer=buyer)
    for document in (original, a_credit_note(original, reason="r" * 300)):
        words = word_boxes(pdf(document), tmp_path)
        assert len(words) > 60
        for word, left, right in words:
            assert left > MARGIN_POINTS - 0.5, word
            assert right < PAGE_POINTS - MARGIN_POINTS + 0.5, word


@pytest.mark.parametrize("locale", LOCALES)
def test_an_ordinary_document_is_one_page_and_small(pdf: Pdf, locale: str) -> None:
    bytes_max = {"ja": 60_000, "zh": 60_000, "ar": 40_000}.get(locale, 25_000)
    abroads = [document for country in ("AU", "IN", "JP") for document in abroad(country, locale=locale).values()]
    for document in (*documents(locale).values(), *abroads):
        made = pdf(document)
        assert len(made) < bytes_max
        with pikepdf.open(io.BytesIO(made)) as opened:
            assert len(opened.pages) == 1, document.title


def test_the_short_style_of_elements_draws_the_same_bytes_as_the_engines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = {**documents("de"), **{f"ar {name}": each for name, each in documents("ar").items()}}
    short = {name: render_pdf(document) for name, document in samples.items()}
    from receipts.press import Page

    monkeypatch.delattr(Page, "_ua_stylesheets")
    assert {name: render_pdf(document) for name, document in samples.items()} == short
    html = "<html lang=en><title>t</title><ul><li>x</ul>"
    whole = in_process_press(html)
    monkeypatch.undo()
    assert in_process_press(html) != whole, "the control: what no template uses differs"


def test_the_file_is_tagged_archival_and_says_when_it_was_issued(pdf: Pdf) -> None:
    with pikepdf.open(io.BytesIO(pdf(a_receipt(locale="de-AT")))) as opened:
        root = opened.Root
        assert str(root.Lang) == "de-AT"
        assert bool(root.MarkInfo.Marked) and bool(root.ViewerPreferences.DisplayDocTitle)
        assert str(opened.docinfo["/Title"]) == "Quittung ALPR26-0000042"
        assert str(opened.docinfo["/CreationDate"]) == "D:20261120233005Z"
        assert str(opened.trailer.ID[0]) == "doc_01JD8XKQ2Z4M6P8R0T2V4X6Z8A"
        tags = [str(o.S) for o in opened.objects if isinstance(o, pikepdf.Dictionary) and "/S" in o and "/P" in o]
        assert tags.count("/H1") == 1
        assert tags.count("/TH") > 10
        xmp = root.Metadata.read_bytes()
        assert xmp.count(b"<rdf:RDF") == 1
        assert b'pdfaid:part="3" pdfaid:conformance="A"' in xmp
        assert b"<pdfuaid:part>1</pdfuaid:part>" in xmp
        empty = [o for o in opened.objects if isinstance(o, pikepdf.Dictionary) and {"/Pattern", "/Shading"} & set(o)]
        assert empty == []


def test_qpdf_finds_nothing_wrong(pdf: Pdf, tmp_path: Path) -> None:
    path = tmp_path / "receipt.pdf"
    path.write_bytes(pdf(a_receipt()))
    subprocess.run(["qpdf", "--check", str(path)], check=True, capture_output=True)


def test_no_empty_box_is_drawn_and_the_engine_has_nothing_to_complain_about(
    caplog: pytest.LogCaptureFixture,
) -> None:
    render_pdf(a_credit_note(a_receipt(buyer=HOSTILE)))
    assert caplog.messages == []

    in_process_press("<html lang=en><title>t</title><p style='no-such: 1'>raw \U0001f600</p>")
    said = " ".join(caplog.messages)
    assert "no-such" in said and ".notdef" in said, "the control: such things are said"


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """A real server on loopback and the paths it was asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{listening.server_port}/asked", asked
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(("markup", "url"), CASES)
def test_whatever_is_not_bundled_is_refused(server: tuple[str, list[str]], markup: str, url: str) -> None:
    base, asked = server
    with pytest.raises(RenderFailed, match="may not fetch"):
        in_process_press("<html lang=en><title>t</title>" + markup.replace("URL", url or base))
    assert asked == []


def test_without_the_bundled_fonts_nothing_is_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import receipts.press"],
        env={"PYTHONPATH": str(ROOT), "HOME": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 1 and b"the bundled fonts come first" in done.stderr


def test_bundled_assets_are_served() -> None:
    in_process_press('<html lang=en><title>t</title><link rel="stylesheet" href="asset:1/document.css"><p>x</p>')


def in_process_press(html: str) -> bytes:
    """What the press makes of HTML that no template of ours would write."""
    render_pdf(a_receipt())
    from receipts.press import press

    return press(html, 1, "doc_1")
