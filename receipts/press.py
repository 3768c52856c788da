"""Press: HTML to PDF/A-3a and PDF/UA-1 bytes with WeasyPrint, hermetic and the same every time.

Imported only after `FONTCONFIG_FILE` points at the bundled fonts: fontconfig reads it once per process.
"""

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
from receipts.page import TEMPLATES

OPTIONS: dict[str, Any] = {"pdf_variant": "pdf/a-3a"}

UA_MARKER = b"""<rdf:Description rdf:about="" xmlns:pdfuaid="http://www.aiim.org/pdfua/ns/id/">\
<pdfuaid:part>1</pdfuaid:part></rdf:Description>\
<rdf:Description rdf:about="" xmlns:pdfaExtension="http://www.aiim.org/pdfa/ns/extension/" \
xmlns:pdfaSchema="http://www.aiim.org/pdfa/ns/schema#" xmlns:pdfaProperty="http://www.aiim.org/pdfa/ns/property#">\
<pdfaExtension:schemas><rdf:Bag><rdf:li rdf:parseType="Resource">\
<pdfaSchema:schema>PDF/UA identification schema</pdfaSchema:schema>\
<pdfaSchema:namespaceURI>http://www.aiim.org/pdfua/ns/id/</pdfaSchema:namespaceURI>\
<pdfaSchema:prefix>pdfuaid</pdfaSchema:prefix><pdfaSchema:property><rdf:Seq><rdf:li rdf:parseType="Resource">\
<pdfaProperty:name>part</pdfaProperty:name><pdfaProperty:valueType>Integer</pdfaProperty:valueType>\
<pdfaProperty:category>internal</pdfaProperty:category>\
<pdfaProperty:description>Part of ISO 14289 that the file conforms to</pdfaProperty:description>\
</rdf:li></rdf:Seq></pdfaSchema:property></rdf:li></rdf:Bag></pdfaExtension:schemas></rdf:Description>"""


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


class Metadata(DocumentMetadata):  # type: ignore[misc]
    """WeasyPrint's metadata with the PDF/UA claim in the same RDF: readers take the first one only."""

    def generate_rdf_metadata(self, variant: str, version: int, conformance: str) -> bytes:
        rdf: bytes = super().generate_rdf_metadata(variant, version, conformance)
        assert rdf.count(b"</rdf:RDF>") == 1
        return rdf.replace(b"</rdf:RDF>", UA_MARKER + b"</rdf:RDF>")


def press(html: str, template_version: int, identifier: str) -> bytes:
    """The PDF of this HTML; `identifier` becomes the file's own. `RenderFailed` if it asks for anything outside."""
    unknown = set(OPTIONS) - set(weasyprint.DEFAULT_OPTIONS)
    if unknown:
        raise RenderFailed(f"options that WeasyPrint does not know: {sorted(unknown)}")
    fonts, stylesheet = _style(template_version)
    options = {**OPTIONS, "pdf_identifier": identifier.encode()}
    fetcher = BundledAssets()
    try:
        source = weasyprint.HTML(string=html, base_url=BundledAssets.SCHEME, url_fetcher=fetcher)
        laid_out = source.render(font_config=fonts, stylesheets=[stylesheet], **options)
        laid_out.metadata = Metadata(**vars(laid_out.metadata))
        pdf: bytes = laid_out.write_pdf(finisher=_drop_empty_resources, **options)
    except FatalURLFetchingError:
        assert fetcher.refused
    if fetcher.refused:
        raise RenderFailed(f"a document may not fetch {fetcher.refused[0]!r}")
    return pdf


@cache
def _style(template_version: int) -> tuple[FontConfiguration, weasyprint.CSS]:
    fonts = FontConfiguration()
    url = f"{BundledAssets.SCHEME}{template_version}/document.css"
    return fonts, weasyprint.CSS(url=url, url_fetcher=BundledAssets(), font_config=fonts)


@cache
def _assets() -> dict[str, bytes]:
    """Every file beside the templates by its path below `templates/`, the templates themselves left out."""
    files = (path for path in TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".html")
    return {Path(path).relative_to(TEMPLATES).as_posix(): path.read_bytes() for path in files}


def _drop_empty_resources(_: object, pdf: pydyf.PDF) -> None:
    """Empty pattern and shading dictionaries say nothing, and PDF/A checkers stumble over them."""
    for entry in pdf.objects:
        if isinstance(entry, dict):
            for name in ("Pattern", "Shading"):
                if entry.get(name) == {}:
                    del entry[name]
