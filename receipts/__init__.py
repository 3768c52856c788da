"""Documents as PDFs: made from frozen data alone, the same bytes whenever and wherever they are made again.

    Document ─ page.py ─▶ HTML ─ press.py ─▶ PDF/A-3a, in a worker process that render.py keeps
            │  phrases.py, formats.py, glyphs.py: the words, the numbers and dates, the characters
            └─ facturx.py ─▶ XML, embedded in company invoices; xmp.py says so in the file

A document names the template it was issued with (`templates/<version>`), its locale and its time zone; fonts are
the bundled ones only. Nothing here reads a clock, a database or the network.
"""


class RenderFailed(Exception):
    """No PDF this time: the reason is in the message. The frozen data is unharmed and can be rendered again."""
