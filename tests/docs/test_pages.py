"""The pages of `docs/` are followed word by word against a demo."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.pages import Reader, reader
from tests.e2e.served import free_port


@pytest.fixture(scope="module")
def follower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Somebody who has done the quickstart, so that a demo runs."""
    folder: Path = tmp_path_factory.mktemp("reader")
    with reader(folder, PORT=str(free_port())) as found:
        assert found.follow("quickstart.md") > 10
        yield found


def test_the_quickstart_does_what_it_says(follower: Reader) -> None:
    assert (follower.folder / "copy.sqlite3").is_file()


def test_the_http_guide_and_the_client_do_what_their_pages_say(follower: Reader) -> None:
    assert follower.follow("http.md") > 10
    assert follower.follow("client.md") > 5


def test_an_operator_can_do_what_operations_says(tmp_path: Path) -> None:
    with reader(tmp_path, PORT=str(free_port()), METRICS=str(free_port())) as found:
        assert found.follow("operations.md") > 6
