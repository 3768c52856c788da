"""How fast receipts are made: one page in one warm worker, beside a bare WeasyPrint page of the same words.

`python -m bench.documents [rounds] [pages a round]`. The floor is the same HTML with the engine's default style,
untagged, without PDF/A and without a pipe between processes, laid out in this process with the same fonts. Rounds
of both are interleaved, so that what else the machine does falls on both. Nothing is asserted.
"""

import statistics
import sys
import time
from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal

from engine.rules.catalog import Unit
from engine.rules.documents import Buyer, Document, Line, receipt
from engine.rules.money import Money
from engine.rules.sellers import Seller, Tax
from receipts.page import page
from receipts.render import Renderer, render_pdf

ROUNDS, PAGES = 5, 40


def main() -> None:
    rounds, pages = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, ROUNDS), (2, PAGES)))
    documents = [_document(n) for n in range(pages)]
    bare = _bare_page(documents[0])
    ours: list[float] = []
    floor: list[float] = []
    with Renderer() as renderer:
        begin = time.perf_counter()
        size = len(renderer.submit(documents[0]).result())
        first = time.perf_counter() - begin
        for _ in range(rounds):
            for document in documents:
                begin = time.perf_counter()
                renderer.submit(document).result()
                ours.append(time.perf_counter() - begin)
            for _ in documents:
                begin = time.perf_counter()
                bare()
                floor.append(time.perf_counter() - begin)
    print(f"one page, one worker, {rounds} rounds of {pages}, interleaved")
    print(f"  receipt    {_figures(ours)}   {size:,} bytes   first, with the start of the process: {first:.2f} s")
    print(f"  bare page  {_figures(floor)}   {len(bare()):,} bytes")
    print(f"  receipt ÷ bare page at p50: {statistics.median(ours) / statistics.median(floor):.2f}")


def _bare_page(document: Document) -> Callable[[], bytes]:
    """The floor: the document's HTML as WeasyPrint prints it when nothing is asked of it, fonts loaded once."""
    render_pdf(document)  # points this process at the bundled fonts before the engine is loaded
    import weasyprint  # type: ignore[import-untyped]
    from weasyprint.text.fonts import FontConfiguration  # type: ignore[import-untyped]

    html, fonts = page(document), FontConfiguration()

    def bare() -> bytes:
        pdf: bytes = weasyprint.HTML(string=html).write_pdf(font_config=fonts)
        return pdf

    return bare


def _figures(seconds: list[float]) -> str:
    cuts = statistics.quantiles(seconds, n=100)
    return f"p50 {cuts[49] * 1000:6.1f} ms   p99 {cuts[98] * 1000:6.1f} ms"


def _document(n: int) -> Document:
    """A receipt with tax and bonus, different in its numbers from every other."""
    at = datetime(2026, 11, 20, 12, 0, n % 60, tzinfo=timezone.utc)
    return receipt(
        document_id=f"doc_{n:026d}",
        number=f"ALPR26-{n + 1:07d}",
        issued_at=at,
        paid_at=at,
        locale="en",
        timezone="Europe/Berlin",
        seller=Seller(
            name="Alphio Example GmbH",
            address_lines=("Musterstraße 1", "10115 Berlin", "Germany"),
            country="DE",
            vat_id="DE000000000",
            email="billing@alphio.example",
            website="https://alphio.example",
            series_prefix="ALP",
        ),
        tax=Tax(prices_include_tax=True, label="VAT", note="", default_percent=Decimal(19)),
        unit=Unit(singular="credit", plural="credits"),
        buyer=Buyer(
            name="Mira Example", email="mira@customer.example", address_lines=("Beispielweg 12", "20095 Hamburg")
        ),
        lines=(
            Line(key="top_up", credits=37_500 + n, amount_minor=30_000 + n, bucket="recharge"),
            Line(key="bonus", credits=1_875, amount_minor=0, bucket="recharge", bonus=True),
        ),
        price=Money(30_000 + n, "USD"),
        price_per_credit="0.0076190476",
        order_id=f"pur_{n:026d}",
        payment_id=f"pi_{n:024d}",
        provider="stripe",
    )


if __name__ == "__main__":
    main()
