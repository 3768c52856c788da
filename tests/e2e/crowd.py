"""A crowd of requests at once, from a process of its own: each on a connection of its own, none waits for another.

Run as `python -m tests.e2e.crowd` it reads `{port, requests}` and writes `[[status, seconds], …]`, in their order.
"""

import asyncio
import base64
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence

from engine.clock import monotonic

Answer = tuple[int, float]

TRIES = 3
"""The machine itself drops connections when too many come at once for its queue."""


def posting(path: str, headers: dict[str, str], body: bytes) -> bytes:
    """A POST as it goes over the wire."""
    lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(body)}", "connection: close", "", ""]).encode() + body


def getting(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n".encode()


def crowd(port: int, requests: Sequence[bytes]) -> list[Answer]:
    """Send them all at once; status and seconds of each."""
    told = {"port": port, "requests": [base64.b64encode(request).decode() for request in requests]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.crowd"], input=json.dumps(told), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [(status, seconds) for status, seconds in json.loads(done.stdout)]


async def _one(port: int, request: bytes) -> Answer:
    """One request, told again when its connection breaks, as every sender of webhooks and every keyed spend does."""
    started = monotonic()
    status = 0
    for _ in range(TRIES):
        with contextlib.suppress(ConnectionError):
            status = await _told(port, request)
        if status:
            break
    return status, monotonic() - started


async def _told(port: int, request: bytes) -> int:
    """The status answered; zero if the connection ends without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        await writer.drain()
        line = await reader.readline()
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


async def _all(port: int, requests: Sequence[bytes]) -> list[Answer]:
    return list(await asyncio.gather(*(_one(port, request) for request in requests)))


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    sys.stdout.write(
        json.dumps(asyncio.run(_all(asked["port"], [base64.b64decode(each) for each in asked["requests"]])))
    )
