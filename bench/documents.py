"""How fast documents are made: one page in one warm worker, beside a bare WeasyPrint page of the same words.

`python -m bench.documents [rounds] [pages a round]`. The floor is the same HTML with the engine's default style,
untagged, without PDF/A and without a pipe between processes, laid out in this process with the same fonts. Rounds
of all are interleaved, so that what else the machine does falls on each; the ratio is of CPU time, which others'
work moves least. Then one worker makes 500 documents more, and its memory is read. Nothing is asserted.
"""

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path

from msgspec.structs import replace

from engine.rules.catalog import Unit
from engine.rules.documents import Buyer, Document, Line, receipt
from engine.rules.money import Money
from engine.rules.sellers import Seller, Tax
from receipts.page import page
from receipts.render import Renderer, render_pdf

ROUNDS, PAGES = 5, 40
DOCUMENTS = 500


def main() -> None:
    rounds, pages = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, ROUNDS), (2, PAGES)))
    receipts = [_document(n) for n in range(pages)]
    invoices = [_invoice(document) for document in receipts]
    bare = _bare_page(receipts[0])
    timed = {name: Timed() for name in ("receipt", "invoice with XML", "bare page")}
    with Renderer(documents_per_process=DOCUMENTS + 2 * rounds * pages) as renderer:
        begin = time.perf_counter()
        sizes = {"receipt": len(renderer.submit(receipts[0]).result())}
        first = time.perf_counter() - begin
        sizes |= {"invoice with XML": len(renderer.submit(invoices[0]).result()), "bare page": len(bare())}
        [worker] = renderer.process_ids()
        for _ in range(rounds):
            for name, made in (("receipt", receipts), ("invoice with XML", invoices)):
                timed[name].note(worker, [lambda d=document: renderer.submit(d).result() for document in made])  # type: ignore[misc]
            timed["bare page"].note(os.getpid(), [bare] * pages)
    floor = timed["bare page"].cpu_each
    print(f"one page, one worker, {rounds} rounds of {pages}, interleaved")
    for name, each in timed.items():
        ratio = each.cpu_each / floor
        cpu = f"{each.cpu_each * 1000:5.1f} ms of CPU, {ratio:.2f} of the bare page"
        print(f"  {name:<17} {_figures(each.seconds)}   {cpu}   {sizes[name]:,} bytes")
    print(f"  the first one, with the start of the process: {first:.2f} s")
    print(f"  memory of a worker: {_memory(receipts)}")


def _time(make: Callable[[], object]) -> float:
    begin = time.perf_counter()
    make()
    return time.perf_counter() - begin


@dataclass
class Timed:
    """What pages of one sort took: each by the wall, all by the CPU of the process that made them."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: float = 0.0

    def note(self, pid: int, makers: Sequence[Callable[[], object]]) -> None:
        before = _cpu(pid)
        self.seconds.extend(map(_time, makers))
        self.cpu_seconds += _cpu(pid) - before

    @property
    def cpu_each(self) -> float:
        return self.cpu_seconds / len(self.seconds)


def _cpu(pid: int) -> float:
    """Seconds of CPU that a process has used, its threads and the kernel's work for it included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(documents: list[Document]) -> str:
    """What one process holds after its first document and after many."""
    with Renderer(documents_per_process=DOCUMENTS * 2) as renderer:
        held: list[int] = []
        for n in range(DOCUMENTS):
            renderer.submit(documents[n % len(documents)]).result()
            if n in (0, DOCUMENTS - 1):
                [pid] = renderer.process_ids()
                held.append(_resident(pid))
    return f"{held[0]} MB after one document, {held[1]} MB after {DOCUMENTS}"


def _resident(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1_000_000


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


def _invoice(document: Document) -> Document:
    """The same sale to a company, with the machine-readable invoice inside."""
    buyer = replace(document.buyer, company="Example Compute GmbH", tax_id="DE136695976", country="DE", city="Hamburg")
    return replace(document, kind="invoice", title="invoice", tax_category="S", has_xml=True, buyer=buyer)


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
