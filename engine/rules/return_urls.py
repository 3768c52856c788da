"""Return URLs: which a checkout may send a customer back to, and what is written into them."""

from collections.abc import Collection
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from engine.rules.errors import ReturnUrlRefused

SESSION_PLACEHOLDER = "{CHECKOUT_SESSION_ID}"
"""What a provider replaces with its session's id when it sends the customer back; must stay unescaped."""

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_URL_MAX = 2_000


def origin_of(url: str) -> str:
    """`scheme://host[:port]` with the default port left out; `ValueError` for anything that has none."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an absolute http(s) URL")
    port = parts.port
    is_default = port is None or port == {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def check_return_url(field: str, url: str, origins: Collection[str]) -> str:
    """The URL, if exactly one of our origins is its origin; else `ReturnUrlRefused`.

    Refused too: user info, control characters, spaces and backslashes, relative URLs, http off loopback.
    """
    if len(url) > _URL_MAX or any(c <= " " or c in "\\\x7f" or not c.isascii() for c in url):
        raise ReturnUrlRefused(field, "The URL has characters that a URL can't have, or is too long.")
    try:
        parts = urlsplit(url)
        origin = origin_of(url)
    except ValueError as error:
        raise ReturnUrlRefused(field, "The URL must be absolute, with http or https and a host.") from error
    if "@" in parts.netloc:
        raise ReturnUrlRefused(field, "The URL may not carry a user or password.")
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        raise ReturnUrlRefused(field, "The URL must be https.")
    if origin not in origins:
        raise ReturnUrlRefused(field, "The URL's origin is not one of the configured ones.")
    return url


def success_url(url: str, purchase_id: str) -> str:
    """Where the customer lands after paying: our `status`, the purchase, and the provider's session id."""
    with_ours = _with(url, {"status": "success", "purchase": purchase_id})
    parts = urlsplit(with_ours)
    return urlunsplit(parts._replace(query=f"{parts.query}&session_id={SESSION_PLACEHOLDER}"))


def cancel_url(url: str, purchase_id: str) -> str:
    """Where the customer lands after giving up."""
    return _with(url, {"status": "cancelled", "purchase": purchase_id})


def _with(url: str, ours: dict[str, str]) -> str:
    """The URL with our parameters; earlier ones of the same names (and `session_id`) are replaced."""
    parts = urlsplit(url)
    replaced = {*ours, "session_id"}
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if k not in replaced]
    query = urlencode([*kept, *ours.items()], quote_via=quote)
    return urlunsplit(parts._replace(query=query))
