"""Render: documents made into PDFs by worker processes that are spawned when first needed, bounded and replaced.

A layout engine can crash, hang or swallow memory, and its native memory grows with every page; so it lives in a
process that has a deadline per document, a memory limit and a number of documents after which it is replaced.
"""

import multiprocessing
import queue
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from types import TracebackType

from engine.rules.documents import Document, canonical
from receipts import RenderFailed
from receipts.worker import DONE, READY, render_pdf, serve

__all__ = ["RenderFailed", "Renderer", "render_pdf"]

START_SECONDS = 60.0
STOP_SECONDS = 5.0


class Renderer:
    """Renders documents in up to `workers` processes; safe to share between threads.

    No process runs before the first document. One that took longer than `timeout_seconds`, died or answered with
    an error is ended and its document fails with `RenderFailed`; the next document gets a new process.
    """

    def __init__(
        self,
        workers: int = 1,
        *,
        timeout_seconds: float = 30.0,
        memory_bytes: int = 1_536 * 1024 * 1024,
        documents_per_process: int = 250,
    ) -> None:
        assert workers >= 1 and documents_per_process >= 1
        self._directory = tempfile.TemporaryDirectory(prefix="purser-receipts-")
        self._workers = tuple(
            _Worker(self._directory.name, timeout_seconds, memory_bytes, documents_per_process) for _ in range(workers)
        )
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for worker in self._workers:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="receipts")

    def submit(self, document: Document) -> Future[bytes]:
        """The PDF, later; `RenderFailed` in the future if there is none. Raises `RuntimeError` once closed."""
        return self._threads.submit(self._render, canonical(document))

    def process_ids(self) -> tuple[int, ...]:
        """The worker processes that run now."""
        return tuple(pid for worker in self._workers if (pid := worker.process_id) is not None)

    def close(self) -> None:
        """Finish the documents begun, drop those that wait, and end the processes."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        for worker in self._workers:
            worker.stop()
        self._directory.cleanup()

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _render(self, data: bytes) -> bytes:
        worker = self._idle.get()
        try:
            return worker.render(data)
        finally:
            self._idle.put(worker)


class _Worker:
    """One place for one process, used by one thread at a time."""

    def __init__(self, directory: str, timeout_seconds: float, memory_bytes: int, documents_max: int) -> None:
        self._directory = directory
        self._timeout_seconds = timeout_seconds
        self._memory_bytes = memory_bytes
        self._documents_max = documents_max
        self._documents = 0
        self._process: SpawnProcess | None = None
        self._connection: Connection | None = None

    @property
    def process_id(self) -> int | None:
        process = self._process
        return process.pid if process is not None else None

    def render(self, data: bytes) -> bytes:
        """The PDF of one canonical document; whatever goes wrong ends the process and raises `RenderFailed`."""
        try:
            connection = self._running() or self._start()
            connection.send_bytes(data)
            answer = self._answer(connection, self._timeout_seconds)
            if not answer.startswith(DONE):
                raise RenderFailed(answer[1:].decode(errors="replace"))
        except (EOFError, OSError) as error:
            self._kill()
            raise RenderFailed("the worker process died") from error
        except BaseException:
            self._kill()
            raise
        self._documents += 1
        if self._documents >= self._documents_max:
            self.stop()
        return answer[1:]

    def stop(self) -> None:
        """Let the process end by itself, soon; kill it otherwise."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.join(STOP_SECONDS)
        self._kill()

    def _running(self) -> Connection | None:
        """The way to the process; `None`, and nothing left of it, if it died since the last document."""
        if self._process is not None and not self._process.is_alive():
            self._kill()
        return self._connection

    def _start(self) -> Connection:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(
            target=serve, args=(theirs, self._directory, self._memory_bytes), name="purser-receipts", daemon=True
        )
        self._process, self._connection, self._documents = process, ours, 0
        process.start()
        theirs.close()
        ready = self._answer(ours, START_SECONDS)
        assert ready == READY
        return ours

    @staticmethod
    def _answer(connection: Connection, seconds: float) -> bytes:
        if not connection.poll(seconds):
            raise RenderFailed(f"no answer within {seconds:g} seconds")
        return connection.recv_bytes()

    def _kill(self) -> None:
        process, connection = self._process, self._connection
        self._process = self._connection = None
        if connection is not None:
            connection.close()
        if process is not None and process.pid is not None:
            process.kill()
            process.join()
            process.close()
