"""Writes the pages of `docs/` that are generated from the code: `make docs`."""

from collections.abc import Callable
from pathlib import Path

from tests.docs.catalogue import catalogue_page
from tests.docs.commands import commands_page
from tests.docs.errors import errors_page
from tests.docs.routes import routes_page

DOCS = Path(__file__).parents[2] / "docs"
PAGES: dict[str, Callable[[], str]] = {
    "catalogue.md": catalogue_page,
    "commands.md": commands_page,
    "errors.md": errors_page,
    "routes.md": routes_page,
}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
