"""The chain of a series: each document's link is a keyed hash over the link before it and the document itself.

A document changed, taken out or put in, or cut off at the end breaks it: the head stands on the series. The seal of
a PDF ties its bytes to the link of its document.
"""

import hmac
from collections.abc import Sequence

FIRST = ""
"""What the first document of a series follows."""


def link(key: bytes, before: str, account_id: str, number: str, digest: str) -> str:
    """The link of the document of that number, whose frozen data has that digest."""
    return _keyed(key, "document", before, account_id, number, digest)


def seal(key: bytes, own_link: str, pdf_digest: str) -> str:
    """What binds the kept PDF to its document."""
    return _keyed(key, "pdf", own_link, pdf_digest)


def is_link(keys: Sequence[bytes], found: str, before: str, account_id: str, number: str, digest: str) -> bool:
    """Whether any of the operator's keys made it."""
    return any(hmac.compare_digest(found, link(key, before, account_id, number, digest)) for key in keys)


def is_seal(keys: Sequence[bytes], found: str, own_link: str, pdf_digest: str) -> bool:
    return any(hmac.compare_digest(found, seal(key, own_link, pdf_digest)) for key in keys)


def _keyed(key: bytes, *parts: str) -> str:
    assert not any("\n" in part for part in parts)
    return hmac.digest(key, "\n".join(parts).encode(), "sha256").hex()
