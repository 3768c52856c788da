"""The site of `docs/`: it builds without a warning, a broken link stops it, and it loads nothing from elsewhere."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.sandbox.processes import ROOT

LOADED = re.compile(r"<(?:script|img|iframe)[^>]*\ssrc=\"([^\"]+)\"|<link[^>]*\shref=\"([^\"]+)\"")


def build(root: Path, to: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", f"{root / '.ci/mkdocs.yml'}", "-d", f"{to}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_the_site_is_built_from_every_page_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    done = build(ROOT, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    pages = {page.name for page in (tmp_path / "site").glob("*.html")}
    assert pages - {"404.html"} == {f"{page.stem}.html" for page in (ROOT / "docs").glob("*.md")}
    for page in (tmp_path / "site").glob("*.html"):
        found = LOADED.findall(page.read_text(encoding="utf-8"))
        assert len(found) > 3
        assert [url for pair in found for url in pair if url.startswith(("http:", "https:", "//"))] == []
    styles = "".join(style.read_text(encoding="utf-8") for style in (tmp_path / "site" / "css").glob("*.css"))
    assert not re.search(r"(url\(|@import )['\"]?(https?:)?//", styles)


def test_a_broken_link_or_a_page_that_nothing_leads_to_stops_it(tmp_path: Path) -> None:
    for text, said in (("[x](nowhere.md)", "nowhere.md"), ("[x](errors.md#nowhere)", "#nowhere"), ("x", "new.md")):
        root = tmp_path / said.strip("#")
        shutil.copytree(ROOT / "docs", root / "docs")
        shutil.copytree(ROOT / ".ci", root / ".ci")
        page = root / "docs" / ("new.md" if text == "x" else "holds.md")
        page.write_text(f"# Holds\n\n{text}\n", encoding="utf-8")
        done = build(root, tmp_path / "out")
        assert done.returncode != 0 and said in done.stderr, (text, done.stderr)
