"""A process that spends until it is killed: one acknowledged key a line on standard output."""

import sys

from engine.clock import Clock, new_id
from engine.group_commit import in_threads
from engine.rules.commands import Posted
from engine.rules.decisions import Terms
from engine.store.database import open_database
from tests.engine.support import CHAIN_KEY, debit

IN_FLIGHT = 16


def main(url: str, account_id: str, prefix: str) -> None:
    """Keep `IN_FLIGHT` spends of one credit in flight, and name the key of each that was answered."""
    writer = in_threads(open_database(url), Terms(new_id, CHAIN_KEY), Clock().now)
    number = 0
    while True:
        keys = [f"{prefix}-{number + n}" for n in range(IN_FLIGHT)]
        number += IN_FLIGHT
        futures = writer.submit_all([debit(account_id, 1, key=key) for key in keys])
        for key, future in zip(keys, futures, strict=True):
            assert isinstance(future.result(), Posted)
            sys.stdout.write(key + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
