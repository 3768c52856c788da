"""The style that no linter knows: sizes, names, docstrings, and what must not be left in the code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engine", "api", "psp", "receipts")
EVERYWHERE = (*PACKAGES, "bench", "tests")
FUNCTION_LINES_MAX = 50
FILE_LINES_MAX = 400
BANNED_WORDS = frozenset({"service", "manager", "repository", "helper", "util", "utils"})
GENERATED = "engine/store/migrations/versions"
LEFT_BEHIND = {
    "an ignored type without its code": r"# type: ignore(?!\[)",
    "an ignored finding without its code": r"# noqa(?!:)",
    "work left to do": r"\b(TODO|FIXME|HACK)\b",
    "a path of one machine": r"(?<![\w.])/(?:work|home|root|Users)/",
    "a breakpoint": r"\bbreakpoint\(|\bpdb\b",
}


def sources(*folders: str) -> list[Path]:
    """The Python files in these folders that people wrote, but this one, which quotes what it looks for."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in found if not name_of(path).startswith(GENERATED) and path != Path(__file__).resolve()]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=name_of(path))


def listed(problems: Iterator[str]) -> str:
    """One problem a line, each with its place; nothing if there is none."""
    return "".join(f"\n  {problem}" for problem in problems)


def long_functions(tree: ast.Module) -> Iterator[tuple[ast.FunctionDef | ast.AsyncFunctionDef, int]]:
    """Functions that are too long, with their lines; decorators do not count."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES_MAX:
                yield node, lines


def banned_names(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and name of every function, class and argument that is called by what it is in a pattern book."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if words_of(node.name) & BANNED_WORDS:
                yield node.lineno, node.name
        elif isinstance(node, ast.arg) and words_of(node.arg) & (BANNED_WORDS - {"service"}):
            yield node.lineno, node.arg


def words_of(name: str) -> set[str]:
    """`SpendManager`, `spend_manager` → `{"spend", "manager"}`."""
    return {part.lower() for part in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def printing_lines(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            yield node.lineno


def left_behind(text: str) -> Iterator[tuple[int, str]]:
    """Line and kind of everything that must not stay in the code."""
    for number, line in enumerate(text.splitlines(), start=1):
        for what, pattern in LEFT_BEHIND.items():
            if re.search(pattern, line):
                yield number, what


def test_functions_are_short() -> None:
    problems = listed(
        f"{name_of(path)}:{node.lineno}: {node.name} has {lines} lines"
        for path in sources(*EVERYWHERE)
        for node, lines in long_functions(tree_of(path))
    )
    assert not problems, f"longer than {FUNCTION_LINES_MAX} lines:{problems}"


def test_files_are_short() -> None:
    sizes = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*EVERYWHERE)}
    problems = listed(f"{name}: {lines} lines" for name, lines in sizes.items() if lines > FILE_LINES_MAX)
    assert not problems, f"longer than {FILE_LINES_MAX} lines, so they say more than one thing:{problems}"


def test_modules_say_what_they_are_for() -> None:
    problems = listed(
        f"{name_of(path)}: {opening.splitlines()[0] if opening else 'no docstring'}"
        for path in sources(*PACKAGES, "bench")
        if (tree := tree_of(path)).body
        and not re.match(r".+?[.:](\s|$)", opening := ast.get_docstring(tree) or "", re.DOTALL)
    )
    assert not problems, f"a module opens with a sentence:{problems}"


def test_names_say_what_a_thing_is() -> None:
    problems = listed(
        f"{name_of(path)}:{line}: {name}"
        for path in sources(*PACKAGES, "bench")
        for line, name in banned_names(tree_of(path))
    )
    files = listed(name_of(path) for path in sources(*PACKAGES, "bench") if words_of(path.stem) & BANNED_WORDS)
    assert not problems + files, f"names from a pattern book:{problems}{files}"


def test_only_the_command_line_prints() -> None:
    problems = listed(
        f"{name_of(path)}:{line}"
        for path in sources(*PACKAGES)
        if not name_of(path).startswith("api/cli")
        for line in printing_lines(tree_of(path))
    )
    assert not problems, f"printed:{problems}"


def test_nothing_is_left_behind() -> None:
    problems = listed(
        f"{name_of(path)}:{line}: {what}"
        for path in sources(*EVERYWHERE)
        for line, what in left_behind(path.read_text(encoding="utf-8"))
    )
    assert not problems, f"left in the code:{problems}"


def test_the_code_looks_where_the_code_is() -> None:
    assert all(sources(folder) for folder in EVERYWHERE)
    assert len(sources(*PACKAGES)) > 50


def test_the_checks_find_what_they_look_for() -> None:
    long = ast.parse("def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX)
    assert [(node.name, lines) for node, lines in long_functions(long)] == [("f", FUNCTION_LINES_MAX + 1)]
    assert not list(long_functions(ast.parse("def f():\n" + "    x = 1\n" * (FUNCTION_LINES_MAX - 1))))
    named = ast.parse("class SpendManager: ...\ndef http_util(): ...\ndef utility(a_helper): ...")
    assert list(banned_names(named)) == [(1, "SpendManager"), (2, "http_util"), (3, "a_helper")]
    assert list(printing_lines(ast.parse("x = 1\nprint(x)"))) == [2]
    bad = ["x = 1  # type: ignore", "x = 1  # noqa", "# TODO later", 'open("/root/x")', "breakpoint()"]
    assert list(left_behind("\n".join(bad))) == [(n, what) for n, what in enumerate(LEFT_BEHIND, start=1)]
    fine = ["x = 1  # type: ignore[arg-type]", "x = 1  # noqa: S608", 'get("/v1/work/x")']
    assert not list(left_behind("\n".join(fine)))
