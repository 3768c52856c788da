"""Calls to the sandbox provider's API: its key, the idempotency key, and the body as a value."""

from typing import TypeVar

import msgspec

from api.sandbox_page import AnyRequest
from api.sandbox_server import SandboxServer
from api.sandbox_sessions import SandboxRefused

T = TypeVar("T")


def check_call(request: AnyRequest, sandbox: SandboxServer, *, is_keyed: bool = False) -> str:
    """Refuse a call without the API key; the idempotency key of one that must have it."""
    if not sandbox.is_key(request.headers.get("authorization", "")):
        raise SandboxRefused(401, "key_invalid", "The API key is missing or wrong.")
    key = request.headers.get("idempotency-key", "")
    if is_keyed and not key:
        raise SandboxRefused(400, "idempotency_key_missing", "This call needs an Idempotency-Key.")
    return key


async def asked(request: AnyRequest, shape: type[T]) -> T:
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SandboxRefused(400, "request_invalid", str(error)) from error
