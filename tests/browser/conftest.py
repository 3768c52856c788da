"""What the browser's tests share: one demo that runs, one Chromium, and pages that are watched while they are used."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.browser.support import CHROMIUM, CHROMIUM_FLAGS, Customer, Demo, Window

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 60.0


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """`purser demo` with the default catalogue, as a process of its own, on a free port."""
    with started("alphio", tmp_path_factory.mktemp("demo")) as process:
        yield ready(process)


@pytest.fixture(scope="session")
def ecolink(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo whose balance reads as US dollars."""
    with started("ecolink", tmp_path_factory.mktemp("ecolink")) as process:
        yield ready(process)


def started(catalog: str, directory: Path) -> "Running":
    return Running(catalog, directory)


class Running:
    """A demo's process; it is ended when the block is left."""

    def __init__(self, catalog: str, directory: Path) -> None:
        self._command = [sys.executable, "-c", "from api.cli import main; main()", "demo", "--json", "--port", "0"]
        self._command += ["--catalog", catalog, "--dir", str(directory)]
        self._log = directory / "stderr.txt"

    def __enter__(self) -> "subprocess.Popen[str]":
        environ = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)
        assert self._process.stdout is not None
        self._process.stdout.close()


def ready(process: "subprocess.Popen[str]") -> Demo:
    """What the demo says of itself in its one line, once it answers."""
    assert process.stdout is not None
    watchdog = threading.Timer(START_SECONDS, process.kill)
    watchdog.start()
    line = process.stdout.readline()
    watchdog.cancel()
    assert line, "the demo ended, or did not answer, before it was ready"
    return Demo.read(line)


@pytest.fixture(scope="session")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="session")
def chromium(playwright: Playwright) -> Iterator[Browser]:
    """Debian's Chromium; without it these tests fail, for skipping would say that the pages work."""
    if not Path(CHROMIUM).exists():
        pytest.fail(f"{CHROMIUM} is missing: install Debian's package `chromium` (see .ci/system dev).")
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_FLAGS)
    yield browser
    browser.close()


@pytest.fixture
def customer(demo: Demo) -> Customer:
    """A customer of their own on the plan `pro`, without credits."""
    return demo.new_customer()


@pytest.fixture
def window(chromium: Browser, demo: Demo) -> Iterator[Window]:
    """A fresh browser profile; when the test ends nothing may have gone wrong in it unseen."""
    opened = Window(chromium, demo)
    yield opened
    opened.close()
    opened.check_clean()
