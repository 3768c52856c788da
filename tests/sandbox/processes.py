"""Purser as an operator runs it: the command in a process of its own, started, read and ended."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

PURSER = (sys.executable, "-c", "from api.cli import main; main()")
ROOT = Path(__file__).parents[2]
SECONDS = 60


def bare_environ(**settings: str) -> dict[str, str]:
    """The environment without any Purser settings but these."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    return {**kept, **settings}


def purser(*words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """The command, run to its end."""
    return subprocess.run(
        [*PURSER, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env=bare_environ(**settings),
        cwd=ROOT,
    )


@contextmanager
def demo(directory: Path, *words: str, **settings: str) -> Iterator[Mapping[str, str]]:
    """A demo that runs on a free port: what its ready line says. Ended by SIGTERM, as a supervisor does it."""
    command = [*PURSER, "demo", "--port", "0", "--dir", str(directory), "--json", *words]
    with (
        (directory.parent / f"{directory.name}.log").open("w") as log,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=log, text=True, env=bare_environ(**settings), cwd=ROOT
        ) as process,
    ):
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, Path(log.name).read_text()
            yield json.loads(line)
        finally:
            process.terminate()
            rest, _ = process.communicate(timeout=SECONDS)
        assert (process.returncode, rest) == (0, ""), "it ends by itself, and stdout held one line"
        assert "Traceback" not in Path(log.name).read_text()
