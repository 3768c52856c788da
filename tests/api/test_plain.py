"""The short way reads a query as the framework does."""

from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.plain import PlainQuery


@pytest.mark.parametrize(
    "raw",
    [b"", b"a=1", b"a=1&b=2&a=3", b"a", b"a=", b"=b", b"&&a=1&", b"a=b=c", b"a=%41+b&c", b"a=1;b=2", b"\xff=\xe9"],
)
def test_a_query_is_read_as_by_the_library(raw: bytes) -> None:
    assert PlainQuery(raw).multi_items() == parse_qsl(raw.decode("latin-1"), keep_blank_values=True)


@given(raw=st.text("a1&=;%+.é").map(lambda text: text.encode("latin-1")))
def test_any_query_is_read_as_by_the_library(raw: bytes) -> None:
    assert PlainQuery(raw).multi_items() == parse_qsl(raw.decode("latin-1"), keep_blank_values=True)
