"""`purser serve` in a process of its own, as an operator runs it, and a host's backend that calls it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from engine.clock import monotonic, sleep

PURSER = (sys.executable, "-m", "api.cli")
SECRET = "the secret key of a server under test"
SECONDS = 60


@dataclass
class Served:
    """A server that runs: its process, and keys by role."""

    process: "subprocess.Popen[bytes]"
    http: httpx.Client
    keys: dict[str, str]

    def call(self, role: str, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.keys[role]}"}
        if key is not None:
            headers["idempotency-key"] = key
        return self.http.request(method, path, headers=headers, **more)

    def kill(self) -> None:
        """`kill -9`: no chance to finish anything."""
        self.process.kill()
        self.process.wait()


def environment(database_url: str, directory: Path, **settings: str) -> dict[str, str]:
    """What the operator sets; nothing of ours leaks in."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PURSER_")}
    own = {
        "PURSER_DATABASE_URL": database_url,
        "PURSER_DATA_DIR": str(directory),
        "PURSER_SECRET_KEY": SECRET,
        "PURSER_CATALOG": "acn",
    }
    return {**kept, **own, **settings}


def purser(env: dict[str, str], *words: str) -> str:
    """Run one command to its end; what it printed."""
    done = subprocess.run([*PURSER, *words], env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def make_keys(env: dict[str, str]) -> dict[str, str]:
    """One key for each role that these tests play."""
    return {
        role: json.loads(purser(env, "keys", "create", "--role", role, "--name", f"a {role}", "--json"))["key"]
        for role in ("service", "support", "approver")
    }


@contextmanager
def serving(env: dict[str, str], keys: dict[str, str], *words: str) -> Iterator[Served]:
    """`purser serve` from ready to ended."""
    port = free_port()
    base_url = f"http://127.0.0.1:{port}"
    env = {**env, "PURSER_PORT": str(port), "PURSER_BASE_URL": base_url}
    process = subprocess.Popen([*PURSER, "serve", *words], env=env, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=base_url, timeout=20) as http:
            wait_until(lambda: process.poll() is not None or answers(http))
            assert process.poll() is None, "the server did not start"
            yield Served(process, http, keys)
    finally:
        process.terminate()
        process.wait(SECONDS)


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(is_so: Callable[[], bool], seconds: float = 30) -> None:
    """Return once it is so; fail if it never is."""
    ends = monotonic() + seconds
    while not is_so():
        assert monotonic() < ends, "waited in vain"
        sleep(0.1)
