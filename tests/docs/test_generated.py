"""Pages written from the code are not stale, and what the other pages name is there: commands, links, settings."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import pytest
from msgspec.inspect import StructType, type_info

from api.cli import main
from api.settings import read_settings
from engine.rules import errors
from engine.rules.catalog import Catalog, Coupon
from psp.stripe_events import _FOLLOWED as FOLLOWED
from tests.docs.catalogue import catalogue_page
from tests.docs.errors import facts_of, tree
from tests.docs.pages import RUN, fences, fits
from tests.docs.routes import everything
from tests.docs.write import DOCS, PAGES
from tests.sandbox.processes import ROOT

WRITTEN = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says_now(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), f"docs/{name} is stale: run `make docs`"


def test_every_key_of_a_catalogue_is_on_its_page() -> None:
    page = catalogue_page()
    for kind, place in ((Catalog, "At the top of the file"), (Coupon, "`[[coupons]]`")):
        info = type_info(kind)
        assert isinstance(info, StructType)
        section = page.split(f"## {place}\n")[1].split("\n## ")[0]
        assert re.findall(r"^\| `(\w+)`", section, re.MULTILINE) == [field.name for field in info.fields]


def test_every_refusal_is_on_the_page_of_errors_with_its_facts() -> None:
    drawn = {name: code for name, code, _ in tree()}
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Refusal)}
    assert drawn == {kind.__name__: kind.code for kind in kinds - {errors.Refusal}}
    refusal = errors.LimitReached("daily", 1, 2, 3, "key_1")
    assert facts_of()["LimitReached"] == list(refusal.facts)
    assert facts_of()["RefundNotPossible"] == ["maxMinor"], "given by who raises it"


def commands(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", command


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_command_in_a_block_exists_with_its_options(page: Path) -> None:
    known = dict(commands(main))
    for block in fences(page):
        if block.kind not in ("sh", ""):
            continue
        for words in re.findall(r"(?:^|[ ;(])purser ((?:[a-z]+ ?)[^\n|;&>#]*)", block.text):
            name = max((name for name in known if f"{words} ".startswith(f"{name} ")), key=len, default=None)
            assert name is not None, f"{block.place}: purser {words}"
            options = {option for parameter in known[name].params for option in parameter.opts}
            assert set(re.findall(r"--[a-z]+", words)) <= options, f"{block.place}: purser {words}"


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_link_leads_to_a_page_that_is_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (page.parent / target).is_file(), f"{page.name}: {target}"


def test_the_index_leads_to_every_page() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    missing = [page.name for page in DOCS.glob("*.md") if page.name != "index.md" and f"({page.name})" not in index]
    assert not missing


def test_the_words_are_the_same_on_both_pages_that_have_them() -> None:
    rows = [
        re.findall(r"^\| (?!word |---|page |`|\[)(.+) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
        for page in (ROOT / "README.md", DOCS / "picture.md")
    ]
    assert rows[0] == rows[1] and len(rows[0]) > 10


def test_every_route_that_a_page_names_is_there() -> None:
    known = [(resource.method, path) for resource in everything() for path in resource.paths]
    named = 0
    for page in WRITTEN:
        text = page.read_text(encoding="utf-8")
        for method, path in re.findall(r"`(GET|POST|PUT|DELETE) (/(?:v1|webhooks)/[^`?*\s]*)[`?]", text):
            named += 1
            assert any(method == one and is_like(path, other) for one, other in known), f"{page.name}: {method} {path}"
    assert named > 20


def is_like(named: str, path: str) -> bool:
    """Whether a page's path is this route's, whatever it calls the ids in it."""
    here, there = named.split("/"), path.split("/")
    return len(here) == len(there) and all(
        one == other or "{" in one or ("{" in other and not one.isalpha())
        for one, other in zip(here, there, strict=True)
    )


class Asked(Mapping[str, str]):
    """An environment that notes which settings it is asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def get(self, name: str, default: Any = None) -> Any:
        self.names.add(name)
        return "x" * 32 if name == "PURSER_SECRET_KEY" else default

    def __getitem__(self, name: str) -> str:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_setting_is_described_and_none_that_is_not_there() -> None:
    asked = Asked()
    read_settings(asked)
    names = {name.removesuffix("_FILE") for name in asked.names}
    described = {
        name
        for page in WRITTEN
        for name in re.findall(r"PURSER_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))
        if name != "PURSER_STRIPE_WEBHOOK"
    }
    assert names - described == set(), "not described in docs/operations.md or docs/providers.md"
    assert {name.removesuffix("_FILE") for name in described} - names == set(), "described, and nobody reads it"


def test_every_event_of_stripe_that_is_followed_is_on_the_page() -> None:
    page = (DOCS / "providers.md").read_text(encoding="utf-8")
    assert [event for event in FOLLOWED if f"`{event}`" not in page] == []


def test_pages_that_are_followed_have_blocks_and_outputs() -> None:
    for name in ("quickstart.md", "http.md", "client.md", "operations.md"):
        blocks = [block for block in fences(DOCS / name) if block.kind in RUN]
        assert sum(block.prints is not None for block in blocks) >= 5, name


def test_an_output_fits_only_what_the_page_shows() -> None:
    assert fits('{"a":1,"b":[2]}\n', '{"a":1,…}') and fits("one\ntwo", "…two")
    assert not fits('{"a":12}', '{"a":1}') and not fits("a.c", "abc") and not fits("abc", "a.c")
