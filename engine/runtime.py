"""What a running Purser is made of, in one value that flows and handlers are given."""

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from engine.clock import Clock, new_id
from engine.gathered_reads import GatheredReads
from engine.group_commit import GroupCommit
from engine.ingest import Ingest
from engine.payments import PaymentProvider
from engine.rules.catalog import Catalog
from engine.rules.decisions import Terms
from engine.store.database import Database


@dataclass(frozen=True, slots=True)
class Secrets:
    """The operator's secret keys: the first signs, all verify. Every purpose gets a key of its own."""

    keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.keys or any(len(key) < 32 for key in self.keys):
            raise ValueError("a secret key has at least 32 characters")

    def all_for(self, purpose: str) -> tuple[bytes, ...]:
        """32-byte keys for one purpose, in the operator's order."""
        return _derived(self.keys, purpose)

    def signing(self, purpose: str) -> bytes:
        return self.all_for(purpose)[0]


@lru_cache(maxsize=64)
def _derived(keys: tuple[str, ...], purpose: str) -> tuple[bytes, ...]:
    return tuple(hmac.digest(key.encode(), purpose.encode(), "sha256") for key in keys)


def chain_terms(catalog: Catalog, secrets: Secrets) -> Terms:
    """The terms the book decides by: ids from the clock, the chain's key, the catalogue's words."""
    return Terms(
        mint=new_id, chain_key=secrets.signing("ledger chain"), descriptions=catalog.descriptions, holds=catalog.holds
    )


@dataclass(frozen=True)
class Runtime:
    """One per process. `wake_jobs` tells the job loop that something is due."""

    db: Database
    catalog: Catalog
    secrets: Secrets
    terms: Terms
    clock: Clock
    group: GroupCommit
    providers: Mapping[str, PaymentProvider]
    base_url: str
    return_origins: tuple[str, ...] = ()
    wake_jobs: Callable[[], None] = field(default=lambda: None)
    ingest: Ingest = field(default_factory=Ingest, compare=False)
    reads: GatheredReads = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reads", GatheredReads(self.db))
