"""Outgoing webhooks: which addresses may be called, and when a delivery is tried again.

Nothing of ours is ever called: no loopback, private, link-local, shared or otherwise special address, in whatever
form it is written. A demo may be told to call loopback, so that a receiver can be tried out.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from engine.rules.errors import Invalid

URL_CHARS_MAX = 2_000
WAITS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
"""How long to wait after each failed attempt; three days in all, then the delivery has failed."""

SPECIAL = tuple(
    map(
        ip_network,
        """
        0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24
        192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
        ::/128 ::1/128 64:ff9b:1::/48 100::/64 2001::/23 2001:db8::/32 2002::/16 3fff::/20 5f00::/16 fc00::/7
        fe80::/10 fec0::/10 ff00::/8
        """.split(),
    )
)
"""What is not the public internet, or leads to something else (6to4, Teredo)."""

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. `authority` is the `Host` header, `path` all that follows it."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def target_of(url: str) -> Target:
    """The parts of an http or https URL; `Invalid` for what no webhook is sent to."""
    if len(url) > URL_CHARS_MAX or not url.isascii() or any(c <= " " or c in '\\"<>^`{|}\x7f' for c in url):
        raise Invalid("url", f"A URL is at most {URL_CHARS_MAX} printable ASCII characters without blanks.")
    try:
        parts = urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise Invalid("url", "This is no URL.") from error
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise Invalid("url", "A webhook URL is https:// and a host.")
    if "@" in parts.netloc or parts.fragment or "%" in host:
        raise Invalid("url", "A webhook URL has no user name, no password and no fragment.")
    default = 443 if parts.scheme == "https" else 80
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port or default, parts.netloc, path)


def check_addresses(target: Target, addresses: Iterable[str], *, allows_loopback: bool) -> None:
    """Raise `Invalid` unless every address that the host's name stands for may be called in this way."""
    found = [_plain(address) for address in addresses]
    if not found:
        raise Invalid("url", "The host's name stands for no address.")
    is_loopback = all(address.is_loopback for address in found)
    if allows_loopback and is_loopback:
        return
    if target.scheme != "https":
        raise Invalid("url", "A webhook URL starts with https://.")
    if not all(map(_is_public, found)):
        raise Invalid("url", "Webhooks are sent to public addresses only.")


def is_callable(address: str) -> bool:
    """Whether this is a public address."""
    return _is_public(_plain(address))


def next_wait(attempts: int) -> timedelta | None:
    """How long to wait after so many failed attempts; `None`: it has failed for good."""
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None


def _plain(text: str) -> IPv4Address | IPv6Address:
    """The address that is meant: an IPv4 one inside an IPv6 one (mapped, compatible, NAT64) is taken out."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in SPECIAL)
