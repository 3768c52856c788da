"""Each case that a rail must survive is shown by tests that are there, under the names that `cases.py` gives them."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.psp import cases

TESTS = Path(__file__).parents[1]


@cache
def names_in(path: Path) -> frozenset[str]:
    """The tests that a file defines."""
    return frozenset(
        node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)
    )


def place_of(test: str) -> tuple[Path, str]:
    file, _, name = test.partition("::")
    directory, _, stem = file.partition("/")
    return TESTS / directory / f"test_{stem}.py", f"test_{name}"


@pytest.mark.parametrize("case", cases.CASES)
def test_a_case_is_shown_by_tests_that_are_there(case: str) -> None:
    assert cases.CASES[case], "a case without a test"
    for path, name in map(place_of, cases.CASES[case]):
        assert path.is_file(), f"there is no {path.name}"
        assert name in names_in(path), f"{path.name} has no {name}"


def test_no_case_stands_in_two_tables() -> None:
    tables = (cases.INGEST, cases.AT_ONCE, cases.ORDER, cases.MONEY, cases.BACK, cases.BY_ITSELF, cases.STORES)
    assert sum(map(len, tables)) == len(cases.CASES) >= 75


def test_a_name_that_no_file_has_is_found_out() -> None:
    path, name = place_of("psp/cases::a_test_that_is_not_there")
    assert path == Path(__file__) and name not in names_in(path)
