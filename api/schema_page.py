"""The OpenAPI document as a page: rendered here from the document itself, without scripts or third parties."""

from typing import Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar.response import Response

from api.pages.assets import read_assets
from api.pages.render import HEADERS, HERE

_templates = Environment(
    loader=FileSystemLoader(HERE),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def schema_page(document: dict[str, Any]) -> Response[str]:
    """Every operation with its parameters, shapes and refusals; account-scoped ones once, under `/v1/billing`."""
    assets = {name: asset.path for name, asset in read_assets().items()}
    operations = [
        {"method": method.upper(), "path": path, **operation}
        for path, methods in document["paths"].items()
        if not _is_second_path(path, document["paths"])
        for method, operation in methods.items()
    ]
    page = _templates.get_template("schema.html").render(
        title=document["info"]["title"],
        operations=operations,
        shape=lambda content: _shape(content, document["components"]["schemas"]),
        pretty=_pretty,
        assets=assets,
    )
    return Response(page, media_type="text/html", headers=dict(HEADERS))


def _is_second_path(path: str, paths: dict[str, Any]) -> bool:
    own = path.replace("/v1/accounts/{accountId}/", "/v1/billing/")
    return own != path and own in paths


def _shape(content: dict[str, Any], schemas: dict[str, Any]) -> list[dict[str, Any]]:
    """The fields of a JSON body: name, what it is, whether it must be there."""
    schema = content.get("application/json", {}).get("schema", {})
    found = schemas.get(schema.get("$ref", "").rpartition("/")[2], schema)
    required = found.get("required", [])
    return [
        {"name": name, "kind": _kind(kind), "is_required": name in required}
        for name, kind in found.get("properties", {}).items()
    ]


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        items: dict[str, Any] = schema.get("items") or next(iter(schema.get("prefixItems", [])), {})
        return f"list of {_kind(items)}"
    if "enum" in schema:
        return " or ".join(str(value) for value in schema["enum"])
    return str(schema.get("format") or schema.get("type") or "any")


def _pretty(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
