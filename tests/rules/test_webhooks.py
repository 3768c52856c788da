"""Which URLs and addresses a webhook may be sent to, and when it is tried again."""

from datetime import timedelta

import pytest

from engine.rules.errors import Invalid
from engine.rules.webhooks import WAITS, check_addresses, is_callable, next_wait, target_of

PUBLIC = ["93.184.216.34", "1.1.1.1", "2606:2800:220:1:248:1893:25c8:1946", "2a00:1450:4001::1", "::ffff:1.1.1.1"]
NOT_PUBLIC = """
    127.0.0.1 127.255.255.254 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 169.254.170.2
    100.64.0.1 100.127.255.255 192.0.0.192 192.0.2.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.255.255.250
    240.0.0.1 255.255.255.255 ::1 :: fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1
    2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254
    ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 64:ff9b:1::1 100::1
""".split()


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_called(address: str) -> None:
    assert is_callable(address)
    check_addresses(target_of("https://hooks.example/x"), [address], allows_loopback=False)


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_no_other_address_is_called(address: str) -> None:
    assert not is_callable(address)
    with pytest.raises(Invalid):
        check_addresses(target_of("https://hooks.example/x"), [address], allows_loopback=False)


def test_one_bad_address_among_good_ones_is_enough() -> None:
    target = target_of("https://hooks.example/")
    for addresses in (["1.1.1.1", "10.0.0.1"], ["127.0.0.1", "1.1.1.1"], []):
        with pytest.raises(Invalid):
            check_addresses(target, addresses, allows_loopback=True)


def test_plain_http_goes_to_loopback_alone_and_only_where_that_is_allowed() -> None:
    plain = target_of("http://localhost:9000/hook")
    check_addresses(plain, ["127.0.0.1", "::1"], allows_loopback=True)
    for addresses, allows in ((["127.0.0.1"], False), (["1.1.1.1"], True), (["10.0.0.1"], True)):
        with pytest.raises(Invalid):
            check_addresses(plain, addresses, allows_loopback=allows)


def test_a_url_is_taken_apart() -> None:
    target = target_of("https://Hooks.example:8443/in?a=1&b=2")
    assert (target.scheme, target.host, target.port) == ("https", "hooks.example", 8443)
    assert (target.authority, target.path) == ("Hooks.example:8443", "/in?a=1&b=2")
    assert (target_of("https://h.example").port, target_of("https://h.example").path) == (443, "/")
    assert target_of("https://[2606::1]:444/").host == "2606::1"


@pytest.mark.parametrize(
    "url",
    [
        "https://h.example/a b",
        "https://h.example/\r\nX: 1",
        "https://h.example/" + "a" * 2_000,
        "",
        *"""
    ftp://h.example/ javascript:alert(1) https:// https:///x //h.example/ h.example https://a@h.example/
    https://a:b@h.example/ https://h.example/#x https://h.example:0/ https://h.example:99999/ https://[::1
    https://h.example/\\x https://häuser.example/ https://[fe80::1%25eth0]/ file:///etc/passwd
    """.split(),
    ],
)
def test_what_is_no_webhook_url_is_refused(url: str) -> None:
    with pytest.raises(Invalid) as refused:
        target_of(url)
    assert refused.value.facts["field"] == "url"


def test_it_is_tried_for_three_days_with_growing_waits() -> None:
    assert list(WAITS) == sorted(WAITS)
    assert timedelta(days=3) <= sum(WAITS, timedelta()) < timedelta(days=3, hours=6)
    assert next_wait(1) == timedelta(seconds=5) and next_wait(len(WAITS)) == timedelta(hours=24)
    assert next_wait(len(WAITS) + 1) is None
