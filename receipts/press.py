"""Press: HTML to PDF/A-3a and PDF/UA-1 bytes with WeasyPrint, hermetic and the same every time.

Imported only after `FONTCONFIG_FILE` points at the bundled fonts: fontconfig reads it once per process.
"""

import os
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import pydyf  # type: ignore[import-untyped]
import weasyprint  # type: ignore[import-untyped]
from weasyprint.pdf.metadata import DocumentMetadata  # type: ignore[import-untyped]
from weasyprint.text.fonts import FontConfiguration  # type: ignore[import-untyped]
from weasyprint.urls import (  # type: ignore[import-untyped]
    FatalURLFetchingError,
    URLFetcher,
    URLFetcherResponse,
)

from receipts import RenderFailed
from receipts.page import PAGES_MAX, TEMPLATES
from receipts.xmp import claims

if "FONTCONFIG_FILE" not in os.environ:
    raise ImportError("the bundled fonts come first: receipts.worker points the process at them")

OPTIONS: dict[str, Any] = {"pdf_variant": "pdf/a-3a"}


@dataclass(frozen=True, slots=True)
class Attached:
    """The machine-readable invoice to embed, and when it was issued: the attachment's dates are not the clock's."""

    name: str
    data: bytes
    issued_at: datetime


class BundledAssets(URLFetcher):  # type: ignore[misc]
    """Serves the files under `templates/` as `asset:<version>/<name>` and ends the rendering for anything else.

    `refused` keeps what was asked for besides, since WeasyPrint goes on drawing when an SVG image fails.
    """

    SCHEME = "asset:"

    def __init__(self) -> None:
        super().__init__()
        self.refused: list[str] = []

    def fetch(self, url: str, headers: dict[str, str] | None = None) -> URLFetcherResponse:
        body = _assets().get(url.removeprefix(self.SCHEME)) if url.startswith(self.SCHEME) else None
        if body is None:
            self.refused.append(url[:200])
            raise FatalURLFetchingError(f"refused: {url[:200]!r}")
        return URLFetcherResponse(url, body, {"Content-Type": "text/css"} if url.endswith(".css") else {})


class Page(weasyprint.HTML):  # type: ignore[misc]
    """HTML with the default style of no more elements than the templates use.

    The engine's own sheet gives every element six pseudo-elements of notes and lists, a tenth of all its work; the
    bytes are the same with either.
    """

    def __init__(self, html: str, elements: weasyprint.CSS, fetcher: BundledAssets) -> None:
        super().__init__(string=html, base_url=BundledAssets.SCHEME, url_fetcher=fetcher)
        self._elements = elements

    def _ua_stylesheets(self, forms: bool = False) -> list[weasyprint.CSS]:
        return [self._elements]


class Metadata(DocumentMetadata):  # type: ignore[misc]
    """WeasyPrint's metadata with our claims in the same RDF."""

    is_hybrid = False

    def generate_rdf_metadata(self, variant: str, version: int, conformance: str) -> bytes:
        rdf: bytes = super().generate_rdf_metadata(variant, version, conformance)
        assert rdf.count(b"</rdf:RDF>") == 1
        return rdf.replace(b"</rdf:RDF>", claims(is_hybrid=self.is_hybrid) + b"</rdf:RDF>")


class HybridMetadata(Metadata):
    """The same for a file with an invoice inside."""

    is_hybrid = True


def press(html: str, template_version: int, identifier: str, attached: Attached | None = None) -> bytes:
    """The PDF of this HTML; `identifier` becomes the file's own. `RenderFailed` if it asks for anything outside, or is
    too long."""
    unknown = set(OPTIONS) - set(weasyprint.DEFAULT_OPTIONS)
    if unknown:
        raise RenderFailed(f"options that WeasyPrint does not know: {sorted(unknown)}")
    style = _style(template_version)
    options = {**OPTIONS, "pdf_identifier": identifier.encode()}
    fetcher = BundledAssets()
    try:
        source = Page(html, style.elements, fetcher)
        laid_out = source.render(font_config=style.fonts, stylesheets=[style.document], **options)
        if len(laid_out.pages) > PAGES_MAX:
            raise RenderFailed(f"{len(laid_out.pages)} pages are more than {PAGES_MAX}")
        metadata = HybridMetadata if attached else Metadata
        laid_out.metadata = metadata(**vars(laid_out.metadata))
        if attached:
            laid_out.metadata.attachments = [_attachment(attached)]
        pdf: bytes = laid_out.write_pdf(finisher=_finish, **options)
    except FatalURLFetchingError:
        assert fetcher.refused
    if fetcher.refused:
        raise RenderFailed(f"a document may not fetch {fetcher.refused[0]!r}")
    return pdf


def _attachment(attached: Attached) -> weasyprint.Attachment:
    """Related as `Alternative`: the same invoice in another form."""
    return weasyprint.Attachment(
        string=attached.data,
        name=attached.name,
        description="Factur-X invoice",
        created=attached.issued_at,
        modified=attached.issued_at,
        relationship="Alternative",
    )


@dataclass(frozen=True, slots=True)
class Style:
    """What is parsed once in a process."""

    fonts: FontConfiguration
    elements: weasyprint.CSS
    document: weasyprint.CSS


@cache
def _style(template_version: int) -> Style:
    fonts, fetcher = FontConfiguration(), BundledAssets()

    def sheet(name: str) -> weasyprint.CSS:
        url = f"{BundledAssets.SCHEME}{template_version}/{name}.css"
        return weasyprint.CSS(url=url, url_fetcher=fetcher, font_config=fonts)

    return Style(fonts, sheet("elements"), sheet("document"))


@cache
def _assets() -> dict[str, bytes]:
    """Every file beside the templates by its path below `templates/`, the templates themselves left out."""
    files = (path for path in TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".html")
    return {Path(path).relative_to(TEMPLATES).as_posix(): path.read_bytes() for path in files}


def _finish(_: object, pdf: pydyf.PDF) -> None:
    """Empty pattern and shading dictionaries say nothing, and PDF/A checkers stumble over them; an attached file is
    listed once."""
    for entry in pdf.objects:
        if isinstance(entry, dict):
            for name in ("Pattern", "Shading"):
                if entry.get(name) == {}:
                    del entry[name]
    if "AF" in pdf.catalog:
        pdf.catalog["AF"] = pydyf.Array(dict.fromkeys(pdf.catalog["AF"]))
