"""The renderer keeps going: lazily started, bounded in time and memory, replaced when it dies."""

import os
import signal
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from msgspec.structs import replace

from receipts.render import Renderer, RenderFailed
from tests.receipts.samples import a_receipt

DOCUMENT = a_receipt()


def test_no_process_runs_before_the_first_document() -> None:
    with Renderer() as renderer:
        assert renderer.process_ids() == ()
        assert renderer.submit(DOCUMENT).result().startswith(b"%PDF-1.7")
        assert len(renderer.process_ids()) == 1


def test_a_process_that_died_between_documents_is_replaced_unnoticed() -> None:
    with Renderer() as renderer:
        before = renderer.submit(DOCUMENT).result()
        [pid] = renderer.process_ids()
        os.kill(pid, signal.SIGKILL)
        wait_for_death(pid)
        assert renderer.submit(DOCUMENT).result() == before
        assert renderer.process_ids() != (pid,)


def test_a_process_that_dies_over_a_document_fails_that_one_and_no_other() -> None:
    with Renderer() as renderer:
        before = renderer.submit(DOCUMENT).result()
        first, second = frozen(renderer), renderer.submit(DOCUMENT)
        [pid] = renderer.process_ids()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(RenderFailed, match="died"):
            first.result()
        assert second.result() == before


def test_a_process_that_hangs_is_ended_at_the_deadline_and_the_next_document_renders() -> None:
    with Renderer(timeout_seconds=3) as renderer:
        before = renderer.submit(DOCUMENT).result()
        [pid] = renderer.process_ids()
        with pytest.raises(RenderFailed, match="within 3 seconds"):
            frozen(renderer).result()
        wait_for_death(pid)
        assert renderer.submit(DOCUMENT).result() == before


def test_a_document_that_cannot_be_rendered_says_why_and_harms_no_other() -> None:
    with Renderer() as renderer:
        with pytest.raises(RenderFailed, match="Nowhere/Land"):
            renderer.submit(replace(a_receipt(), timezone="Nowhere/Land")).result()
        assert renderer.submit(DOCUMENT).result().startswith(b"%PDF")


def test_a_process_gets_no_more_memory_than_its_limit(capfd: pytest.CaptureFixture[str]) -> None:
    with Renderer(memory_bytes=64 * 1024 * 1024) as renderer, pytest.raises(RenderFailed):
        renderer.submit(DOCUMENT).result()
    assert capfd.readouterr().err


def test_a_process_is_replaced_after_its_share_of_documents_and_the_bytes_stay_the_same() -> None:
    with Renderer(documents_per_process=2) as renderer:
        pdfs: set[bytes] = set()
        seen: set[int] = set()
        for _ in range(3):
            pdfs.add(renderer.submit(DOCUMENT).result())
            seen.update(renderer.process_ids())
        assert len(pdfs) == 1
        assert len(seen) == 2


def test_a_closed_renderer_takes_no_documents_and_leaves_no_process() -> None:
    renderer = Renderer()
    renderer.submit(DOCUMENT).result()
    [pid] = renderer.process_ids()
    renderer.close()
    wait_for_death(pid)
    with pytest.raises(RuntimeError):
        renderer.submit(DOCUMENT)


def frozen(renderer: Renderer) -> Future[bytes]:
    """A document submitted to a process that has been stopped, as one that loops for ever would be."""
    [pid] = renderer.process_ids()
    os.kill(pid, signal.SIGSTOP)
    return renderer.submit(DOCUMENT)


def wait_for_death(pid: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return
        except FileNotFoundError:
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")
