"""One renderer for all tests that only need PDFs: a real worker process, started once."""

from collections.abc import Callable, Iterator

import pytest

from engine.rules.documents import Document
from receipts.render import Renderer


@pytest.fixture(scope="session")
def pdf() -> Iterator[Callable[[Document], bytes]]:
    with Renderer() as renderer:
        yield lambda document: renderer.submit(document).result()
