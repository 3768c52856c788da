"""Worker: the process that renders, hermetic and bounded; it speaks bytes over a pipe and knows no caller."""

import atexit
import os
import resource
import shutil
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from xml.sax.saxutils import escape

from engine.rules.documents import Document, read
from receipts.facturx import NAME, invoice_xml
from receipts.glyphs import FONTS
from receipts.page import page

READY = b"ready"
DONE, FAILED = b"+", b"-"


def render_pdf(document: Document) -> bytes:
    """The document's PDF: the same bytes in any process, time zone and locale, from the bundled fonts only.

    Meant for a process of its own: the first call points this process's fontconfig at the bundled fonts.
    Raises `RenderFailed` and whatever the layout engine raises.
    """
    if "receipts.press" not in sys.modules:
        directory = tempfile.mkdtemp(prefix="purser-fonts-")
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
        use_bundled_fonts(Path(directory))
    from receipts.press import Attached, press  # after the fonts are set: fontconfig is loaded with it

    attached = Attached(NAME, invoice_xml(document), document.issued_at) if document.has_xml else None
    return press(page(document), document.template_version, document.document_id, attached)


def serve(connection: Connection, cache_directory: str, memory_bytes: int) -> None:
    """Answer canonical documents with `+` and a PDF, or `-` and the reason, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    use_bundled_fonts(Path(cache_directory))
    import receipts.press  # noqa: F401 - the half second of loading is spent before the first document

    connection.send_bytes(READY)
    while True:
        try:
            data = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(_answer(data))


def use_bundled_fonts(cache_directory: Path) -> None:
    """Point this process's fontconfig at the bundled fonts alone, its cache in that directory."""
    config = cache_directory / f"fonts-{os.getpid()}.conf"
    config.write_text(
        '<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">\n'
        f"<fontconfig><dir>{escape(str(FONTS))}</dir>"
        f"<cachedir>{escape(str(cache_directory / 'cache'))}</cachedir></fontconfig>\n"
    )
    os.environ["FONTCONFIG_FILE"] = str(config)


def _answer(data: bytes) -> bytes:
    try:
        return DONE + render_pdf(read(data))
    except Exception as error:
        return FAILED + f"{type(error).__name__}: {error}".encode(errors="replace")
