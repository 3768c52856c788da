"""The page of routes and of who may call them, written from the resources and the matrix that the server goes by."""

import re
from typing import Any, get_args

from api import receipts
from api.app import RESOURCES
from api.auth import MATRIX, Action, Role
from api.openapi import ALWAYS
from api.problems import KINDS
from api.scope import Resource
from receipts.render import Renderer

INTRODUCTION = """\
# Routes, and who may call them

A path without `/` at its beginning exists twice: under `/v1/billing/` for the account of the credential, and under
`/v1/accounts/{accountId}/` for service and staff keys. An account's own credential that names another account, and an
object of another account, are answered 404, as if they did not exist. A credential that is missing or wrong is 401
`AUTH-001`, one that may not is 403 `AUTH-002`.

| may | says |
|---|---|
| `account` | an account's API key |
| `owner`, `member` | a session of the account's owner, or of one who may only look |
| `service` | the host's backend |
| `support`, `approver`, `admin`, `auditor` | staff, each a named person |

This page is generated from the code: `make docs` writes it.
"""

ROUTES = """
## Routes

`key` says whether an `Idempotency-Key` is required (without one: `IDEMPOTENCY-001`), or taken where one is sent.
`refuses` is what a route may answer beside what every route with a credential may: {always}.

| route | does | may | status | key | refuses |
|---|---|---|---|---|---|
"""


def routes_page() -> str:
    """The whole page."""
    roles: tuple[Role, ...] = get_args(Role)
    lines = [INTRODUCTION, "## Who may do what\n", f"| | {' | '.join(f'`{role}`' for role in roles)} |"]
    lines.append(f"|---{'|---' * len(roles)}|")
    for action in get_args(Action):
        marks = " | ".join("yes" if role in MATRIX[action] else "–" for role in roles)
        lines.append(f"| `{action}` | {marks} |")
    lines.append(ROUTES.rstrip().replace("{always}", ", ".join(f"`{kind.code}`" for kind in ALWAYS)))
    lines += [_line(resource) for resource in everything()]
    return "\n".join([*lines, ""])


def everything() -> list[Resource[Any]]:
    """All resources of a server, those of an account first, by path and method."""
    with Renderer() as renderer:
        found = [*RESOURCES, *receipts.resources(renderer)]
    return sorted(found, key=lambda resource: (resource.path.startswith("/"), resource.path, resource.method))


def _line(resource: Resource[Any]) -> str:
    own = set(resource.refuses) - (set(ALWAYS) if resource.may is not None else set())
    refused = ", ".join(f"`{kind.code}`" for kind in sorted(own, key=list(KINDS).index))
    status = f"{resource.status}, 202" if resource.waits is not None and resource.status != 202 else resource.status
    key = "" if resource.key == "none" else resource.key
    may = "anybody" if resource.may is None else f"`{resource.may}`"
    return f"| `{resource.method} {path_of(resource)}` | {resource.summary} | {may} | {status} | {key} | {refused} |"


def path_of(resource: Resource[Any]) -> str:
    """The path with its names as the contract writes them."""
    return re.sub(r"{(\w+):\w+}", lambda found: "{" + _camel(found[1]) + "}", resource.path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
