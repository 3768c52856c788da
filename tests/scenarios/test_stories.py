"""Every story in this folder, told to the rules in memory, to SQLite and to PostgreSQL."""

from pathlib import Path

import pytest

from engine.store.database import Database
from tests.engine.backends import Backend, InMemory, Stored
from tests.engine.support import DAY_0
from tests.scenarios.story import ACCOUNT, Story, Telling, batches, read_stories, set_up

FILES = sorted(Path(__file__).parent.glob("*.txt"))
STORIES = [story for file in FILES for story in read_stories(file.read_text(encoding="utf-8"))]
NAMES = [story.name.partition(":")[0] for story in STORIES]


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "memory":
        return InMemory()
    db = request.getfixturevalue(request.param)
    assert isinstance(db, Database)
    return Stored(db)


@pytest.mark.parametrize("story", STORIES, ids=NAMES)
def test_the_story_holds_row_by_row(story: Story, backend: Backend) -> None:
    backend.open(ACCOUNT, DAY_0)
    telling = Telling(backend)
    for row in story.rows:
        told = telling.tell(row)
        assert told == (row.outcome, row.balance), f"line {row.line}: {row.command}"


@pytest.mark.parametrize("story", STORIES, ids=NAMES)
def test_the_story_told_in_large_batches_ends_in_the_same_books(story: Story, backend: Backend) -> None:
    slowly = InMemory()
    slowly.open(ACCOUNT, DAY_0)
    telling = Telling(slowly)
    for row in story.rows:
        telling.tell(row)
    backend.open(ACCOUNT, DAY_0)
    for now, step in batches(telling.told):
        if isinstance(step, str):
            set_up(backend, step)
        else:
            backend.post(step, now)
    assert backend.books(ACCOUNT) == slowly.books(ACCOUNT)


def test_the_stories_are_all_read() -> None:
    assert len(FILES) >= 5 and len(STORIES) >= 40
    assert len(set(NAMES)) == len(NAMES), "each story has a name of its own"
    assert all(len(story.rows) >= 2 for story in STORIES)


def test_a_row_that_says_something_wrong_is_noticed() -> None:
    [story] = read_stories("story wrong: a lie\nd0 | grant a R 5 | promo_credit +6 a | 0 / 0 / 6")
    backend = InMemory()
    backend.open(ACCOUNT, DAY_0)
    told = Telling(backend).tell(story.rows[0])
    assert told == ("promo_credit +5 a", "0 / 0 / 5") != (story.rows[0].outcome, story.rows[0].balance)
