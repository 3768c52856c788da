"""The book's process killed under its server: callers are told to ask again, and their keys are spent once."""

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from api.script import Desk, demo
from tests.e2e.served import wait_until
from tests.e2e.test_kill import assert_books_add_up, every_row

SPENDERS = 6
KILLS = 3


def lane_of(server: int) -> int | None:
    """The process of a server's book, if it runs at the moment."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="ascii").split()
    threads = Path(f"/proc/{server}/task").iterdir()
    children += [pid for each in threads for pid in (each / "children").read_text(encoding="ascii").split()]
    for pid in children:
        try:
            if b"lane_process" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return int(pid)
        except OSError:
            continue
    return None


def spend_on(desk: Desk, who: int, told: dict[str, int], stop: threading.Event) -> None:
    number = 0
    with httpx.Client(base_url=desk.http.base_url, timeout=30) as http:
        while not stop.is_set():
            key = f"spend-{who}-{number}"
            number += 1
            headers = {"authorization": f"Bearer {desk.keys['service']}", "idempotency-key": key}
            answer = http.post(desk.mine("spends"), json={"amountCredits": "1"}, headers=headers)
            told[key] = answer.status_code
            if answer.status_code == 503:
                assert answer.json()["code"].endswith("UNAVAILABLE") and answer.headers["retry-after"]
                stop.wait(0.05)
            else:
                assert answer.status_code == 201, answer.text


def test_a_killed_lane_loses_no_spend_and_doubles_none(tmp_path: Path) -> None:
    told: dict[str, int] = {}
    stop = threading.Event()
    with demo(tmp_path, "alphio") as (desk, process), ThreadPoolExecutor(SPENDERS) as pool:
        spenders = [pool.submit(spend_on, desk, who, told, stop) for who in range(SPENDERS)]
        try:
            for _ in range(KILLS):
                done = list(told.values()).count(201)
                wait_until(lambda done=done: list(told.values()).count(201) > done + 20)  # type: ignore[misc]
                lane = lane_of(process.pid)
                assert lane is not None
                os.kill(lane, signal.SIGKILL)
                wait_until(lambda lane=lane: lane_of(process.pid) not in (None, lane))  # type: ignore[misc]
        finally:
            stop.set()
        for spender in spenders:
            spender.result(60)
        assert 503 in told.values(), "nobody asked while it was away"
        ids: set[str] = set()
        for key in told:
            answer = desk.call("service", "POST", desk.mine("spends"), json={"amountCredits": "1"}, key=key)
            assert answer.status_code == 201
            assert told[key] == 503 or answer.headers["idempotency-replayed"] == "true"
            ids.add(answer.json()["transaction"]["id"])
        assert len(ids) == len(told)
        spent = [row["id"] for row in every_row(desk) if row["id"] in ids]
        assert len(spent) == len(ids)
    assert_books_add_up(tmp_path)
