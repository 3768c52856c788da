"""Pages of `docs/` as their reader follows them: their blocks run in order, in one shell and one Python session.

A fenced block of `sh` or `python` is run; a block of `text` right below it is what it prints, where `…` stands for
anything. Both sessions share a folder, and the shell's variables last from page to page.
"""

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.sandbox.processes import ROOT, bare_environ

DOCS = ROOT / "docs"
RUN = ("sh", "python")
_FENCE = re.compile(r"^```(?P<kind>[a-z]*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE)
_END = "the block ended with"


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, what it is, and what it must print if the page says so."""

    place: str
    kind: str
    text: str
    prints: str | None


def fences(page: Path) -> list[Block]:
    """Every fenced block of a page, in order; an output belongs to the block right above it."""
    source = page.read_text(encoding="utf-8")
    found = list(_FENCE.finditer(source))
    blocks = []
    for number, match in enumerate(found):
        after = found[number + 1] if number + 1 < len(found) else None
        is_next = after is not None and after["kind"] == "text" and not source[match.end() : after.start()].strip()
        line = source.count("\n", 0, match.start()) + 1
        prints = after["text"] if after is not None and is_next else None
        blocks.append(Block(f"{page.name}:{line}", match["kind"], match["text"], prints))
    return blocks


@dataclass
class Reader:
    """Somebody who does what the pages say, in a folder of their own."""

    folder: Path
    shell: "subprocess.Popen[str]"
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "__main__"})

    def follow(self, page: str) -> int:
        """Run the page's blocks; how many there were. Fails with everything that was not as the page says."""
        blocks = [block for block in fences(DOCS / page) if block.kind in RUN]
        complaints = []
        for block in blocks:
            printed = self._sh(block) if block.kind == "sh" else self._python(block)
            if block.prints is not None and not fits(printed, block.prints):
                complaints.append(f"{block.place} printed\n{printed.strip()}\nand the page says\n{block.prints}")
        assert not complaints, "\n".join(complaints)
        return len(blocks)

    def _sh(self, block: Block) -> str:
        assert self.shell.stdin is not None and self.shell.stdout is not None
        self.shell.stdin.write(f"{block.text}\necho\necho '{_END}' $?\n")
        self.shell.stdin.flush()
        lines = []
        for line in self.shell.stdout:
            if line.startswith(_END):
                assert line.split()[-1] == "0", f"{block.place}: {line}{''.join(lines)}"
                return "".join(lines)
            lines.append(line)
        log = (self.folder / "stderr.txt").read_text(encoding="utf-8")
        raise AssertionError(f"{block.place} ended the shell:\n{''.join(lines)}\n{log[-4000:]}")

    def _python(self, block: Block) -> str:
        """In a thread of its own: a browser of other tests may have left a running loop in this one."""
        printed = io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(printed),
            ThreadPoolExecutor(1) as thread,
        ):
            thread.submit(exec, compile(block.text, block.place, "exec"), self.names).result()
        return printed.getvalue()


def fits(printed: str, pattern: str) -> bool:
    """Whether this is what the page shows, ends of lines aside."""
    parts = (re.escape(part) for part in pattern.strip().split("…"))
    return re.fullmatch(".*?".join(parts), printed.strip(), re.DOTALL) is not None


@contextlib.contextmanager
def reader(folder: Path, **settings: str) -> Iterator[Reader]:
    """A reader with `purser` and `python3` at hand; whatever they started ends with them."""
    tools = folder / "bin"
    tools.mkdir(parents=True)
    for name, words in (("purser", " -m api.cli"), ("python3", "")):
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n', encoding="utf-8")
        (tools / name).chmod(0o755)
    environ = bare_environ(PYTHONPATH=str(ROOT), **settings)
    environ["PATH"] = f"{tools}:{environ['PATH']}"
    with (
        (folder / "stderr.txt").open("w", encoding="utf-8") as log,
        subprocess.Popen(
            ["bash", "-eu"],
            cwd=folder,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as shell,
    ):
        assert shell.stdin is not None
        try:
            yield Reader(folder, shell)
        finally:
            with contextlib.suppress(BrokenPipeError):
                shell.stdin.write("\nkill $(jobs -p) 2>/dev/null || true\nwait\nexit\n")
                shell.stdin.close()
            shell.wait(60)
