"""HMAC-SHA256 (RFC 2104) with the key's part of the work done once: OpenSSL's own begins with it for every text."""

import hashlib
from collections.abc import Callable
from functools import lru_cache

_BLOCK = 64
_IPAD = bytes(byte ^ 0x36 for byte in range(256))
_OPAD = bytes(byte ^ 0x5C for byte in range(256))


@lru_cache(16)
def hmac_sha256(key: bytes) -> Callable[..., bytes]:
    """The 32-byte digest under one key of any texts, one after the other."""
    padded = (key if len(key) <= _BLOCK else hashlib.sha256(key).digest()).ljust(_BLOCK, b"\0")
    inner, outer = hashlib.sha256(padded.translate(_IPAD)), hashlib.sha256(padded.translate(_OPAD))

    def digest(*texts: bytes) -> bytes:
        inside, outside = inner.copy(), outer.copy()
        for text in texts:
            inside.update(text)
        outside.update(inside.digest())
        return outside.digest()

    return digest
