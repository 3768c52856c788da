"""The page of routes and of who may call them, written from the resources and the matrix that the server goes by."""

import re
from typing import Any, get_args

from api import receipts
from api.app import RESOURCES
from api.auth import MATRIX, Action, Role
from api.openapi import ALWAYS
from api.pages import all_pages
from api.pages.frame import Page
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

PAGES = """
## Pages

A browser gets a session by a link of the host's, by signing in at the OIDC issuer, or at the support desk with a staff
key; the pages take keys too. Without a session a customer's page leads to the issuer, or says where to come from (401);
a page of the desk asks for the key (401), from a customer too. Another account's purchase, document, card or key is not
there (404). A form counts only if it comes from one of our own pages (403).

| page | {readers} |
|---|{lines}|
"""
READERS: tuple[Role | None, ...] = (None, *get_args(Role))


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
    names = " | ".join("nobody" if role is None else f"`{role}`" for role in READERS)
    lines.append(PAGES.rstrip().format(readers=names, lines="---|" * (len(READERS) - 1) + "---"))
    for page in every_page():
        marks = " | ".join("yes" if may_open(page, role) else "–" for role in READERS)
        lines.append(f"| `{page.method} {path_of(page)}` | {marks} |")
    return "\n".join([*lines, ""])


def everything() -> list[Resource[Any]]:
    """All resources of a server, those of an account first, by path and method."""
    with Renderer() as renderer:
        found = [*RESOURCES, *receipts.resources(renderer)]
    return sorted(found, key=lambda resource: (resource.path.startswith("/"), resource.path, resource.method))


def every_page() -> list[Page]:
    """The customers' pages first, then the desk's, then those that are anybody's."""
    with Renderer() as renderer:
        found = all_pages(renderer)
    return sorted(found, key=lambda page: (("customer", "staff", "anyone").index(page.reader), page.path, page.method))


def may_open(page: Page, role: Role | None) -> bool:
    """Whether this reader, of whatever account, may open the page as such."""
    if page.reader == "anyone":
        return True
    is_customer = role in ("account", "owner", "member")
    return role is not None and is_customer == (page.reader == "customer") and role in MATRIX[page.may]


def _line(resource: Resource[Any]) -> str:
    own = set(resource.refuses) - (set(ALWAYS) if resource.may is not None else set())
    refused = ", ".join(f"`{kind.code}`" for kind in sorted(own, key=list(KINDS).index))
    status = f"{resource.status}, 202" if resource.waits is not None and resource.status != 202 else resource.status
    key = "" if resource.key == "none" else resource.key
    may = "anybody" if resource.may is None else f"`{resource.may}`"
    return f"| `{resource.method} {path_of(resource)}` | {resource.summary} | {may} | {status} | {key} | {refused} |"


def path_of(resource: Resource[Any] | Page) -> str:
    """The path with its names as the contract writes them."""
    return re.sub(r"{(\w+):\w+}", lambda found: "{" + _camel(found[1]) + "}", resource.path)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)
