"""One renderer for all tests that only need PDFs: a real worker process, started once,
and each document made once."""

from collections.abc import Callable, Iterator

import pytest

from engine.rules.documents import Document, canonical
from receipts.render import Renderer


@pytest.fixture(scope="session")
def pdf() -> Iterator[Callable[[Document], bytes]]:
    made: dict[bytes, bytes] = {}

    def pdf_of(document: Document) -> bytes:
        data = canonical(document)
        if data not in made:
            made[data] = renderer.submit(document).result()
        return made[data]

    with Renderer() as renderer:
        yield pdf_of
