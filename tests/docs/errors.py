"""The page of error codes, written from the tree of refusals, the table of statuses and the code that raises them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from api.client_wire import ERRORS
from api.problems import FRAMEWORK, INTERNAL, KINDS, RETRY_AFTER_SECONDS
from engine.rules import errors

ROOT = Path(__file__).parents[2]

INTRODUCTION = """\
# Errors

Every error is a problem detail as RFC 9457 has it, `application/problem+json`:

```json
{
  "type": "urn:purser:problem:insufficient-credits",
  "title": "Insufficient credits",
  "status": 402,
  "detail": "50 credits are needed and 30 are available.",
  "code": "CREDIT-001",
  "neededCredits": "50",
  "availableCredits": "30",
  "shortfallCredits": "20"
}
```

`code` is what a program looks at: it is stable, and begins with the catalogue's `error_prefix` (`ACN-CREDIT-001`).
`detail` is for a person and may change. The facts of a refusal stand beside it: credits as text of digits, money as
integers of minor units. A refusal changes nothing, so the same `Idempotency-Key` may succeed later.

503 and 429 say when to come again (`Retry-After`). After a 503, a timeout or a lost connection send the same request
with the same `Idempotency-Key`: it is carried out once, whatever became of the first. Everything else means: change
the request, or the wallet, first.

This page is generated from the code: `make docs` writes it.

| code | status | when | facts | the Python client raises |
|---|---|---|---|---|
"""

END = """
What the framework refuses by itself has the same form:

| code | status | when |
|---|---|---|
"""


def errors_page() -> str:
    """The whole page."""
    facts = facts_of()
    lines = [INTRODUCTION.rstrip()]
    for name, code, when in tree():
        kind = KINDS[getattr(errors, name)]
        told = ", ".join(f"`{fact}`" for fact in facts.get(name, ()))
        lines.append(f"| `{code}` | {kind.status} | {when} | {told} | {_exception(code, kind.status)} |")
    lines.append(END.rstrip())
    for status, (code, _, when) in sorted(FRAMEWORK.items()):
        lines.append(f"| `{code}` | {status} | {when} |")
    lines.append("| `INVALID` | any other 4xx | the request is no HTTP that this path takes |")
    lines.append(f"| `{INTERNAL}` | 500 | a bug: logged, and answered without a word about its inside |")
    return "\n".join([*lines, ""])


def tree() -> Iterator[tuple[str, str, str]]:
    """Class, code and meaning of each refusal, in the order of the module that draws them."""
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"[├└]── (\w+)\s+([A-Z]+(?:-[A-Z]+)*(?:-\d{3})?)\s{2,}(.+)", line)
        if found is not None:
            yield found[1], found[2], found[3]


def _exception(code: str, status: int) -> str:
    name = (
        "Unreachable" if status in RETRY_AFTER_SECONDS else ERRORS[code].__name__ if code in ERRORS else "PurserError"
    )
    return f"`{name}`"


def facts_of() -> dict[str, list[str]]:
    """The names of the facts that each refusal may carry: those its class gives, else those its callers give."""
    own = ast.parse((ROOT / "engine/rules/errors.py").read_text(encoding="utf-8"))
    found: dict[str, list[str]] = {}
    for node in own.body:
        if isinstance(node, ast.ClassDef):
            names = [name for call in ast.walk(node) if isinstance(call, ast.Call) for name in _keywords(call)]
            if any(isinstance(part, ast.FunctionDef) for part in node.body):
                found[node.name] = names
    for path in sorted(path for folder in ("engine", "api", "psp") for path in (ROOT / folder).rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = _called(call)
            if name is not None and hasattr(errors, name) and name not in _with_facts_of_their_own(own):
                found[name] = [*dict.fromkeys([*found.get(name, []), *_keywords(call)])]
    return found


def _with_facts_of_their_own(tree: ast.Module) -> set[str]:
    return {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(isinstance(part, ast.FunctionDef) for part in node.body)
    }


def _called(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else None


def _keywords(call: ast.AST) -> Iterator[str]:
    """Names given to a call, those of a dictionary that is spread into it too."""
    assert isinstance(call, ast.Call)
    for keyword in call.keywords:
        if keyword.arg is not None:
            yield keyword.arg
            continue
        for node in ast.walk(keyword.value):
            if isinstance(node, ast.Dict):
                yield from (key.value for key in node.keys if isinstance(key, ast.Constant))
