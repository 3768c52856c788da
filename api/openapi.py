"""The OpenAPI document, made from the resources themselves: their shapes, and an example of every refusal."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from litestar.response import Response

from api.body import CreditCount, Credits, Dollars
from api.problems import KINDS, problem
from api.schema_page import schema_page
from api.scope import Answer, Call, Resource
from engine.rules import errors as e
from engine.rules.catalog import Catalog

REF = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"\{(?P<name>[a-z_]+):str\}")

EXAMPLES: tuple[e.Refusal, ...] = (
    e.Invalid("amountCredits", "Object missing required field `amountCredits`."),
    e.NotFound("account"),
    e.Unauthenticated("A key is needed: Authorization: Bearer KEY."),
    e.Forbidden("This credential may not do that."),
    e.InsufficientCredits(8_201, 8_200),
    e.LimitReached("daily", 50_000, 49_500, 800),
    e.BelowMinimum(500, 1_000, "USD"),
    e.AboveMaximum(2_000_000, 1_000_000, "USD"),
    e.MalformedAmount("The amount is not a whole number of cents."),
    e.ReturnUrlRefused("successUrl", "The URL's origin is not one of the configured ones."),
    e.QuoteRefused("The quote has ended."),
    e.CouponUnknown(),
    e.CouponRedeemed(),
    e.CouponExpired("2026-11-30T00:00:00Z"),
    e.CouponTermsNotMet("first_top_up", "The coupon needs a first top-up."),
    e.CouponUsedUp(),
    e.RateLimited(1_800),
    e.TopUpNotInPlan("free", "base", "https://wallet.example/account/subscribe"),
    e.FeatureNotInPlan("api_access", "base", "pro", "Pro", "https://wallet.example/account/subscribe", "plan"),
    e.PlanElsewhere("Apple", "change", "https://apps.apple.com/account/subscriptions"),
    e.HoldEnded("captured"),
    e.HoldExpired(),
    e.HoldTooSmall(900, 800),
    e.SpendAlreadyReversed(800, 0),
    e.AccountExists("acme-1"),
    e.WalletNotActive("suspended"),
    e.WalletInDebt(1_200),
    e.IdempotencyKeyMissing("This request needs exactly one Idempotency-Key header."),
    e.IdempotencyMismatch(),
    e.RefundWindowClosed("The 24 hours are over."),
    e.RefundCreditsTouched("Some of the purchase's credits were used."),
    e.AlreadyRefunded("The purchase was refunded."),
    e.RefundNotPossible("This provider can't refund from here."),
    e.OwnApproval(),
    e.WebhookRefused("The signature does not match."),
    e.Unavailable("The database does not answer; try again."),
)
"""One of every refusal, as it is answered."""

ALWAYS: tuple[type[e.Refusal], ...] = (
    e.Invalid,
    e.NotFound,
    e.Unauthenticated,
    e.Forbidden,
    e.RateLimited,
    e.Unavailable,
)
ID = {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}([.]pdf)?$"}
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code"],
    "properties": {name: {"type": "string"} for name in ("type", "title", "detail", "code")}
    | {"status": {"type": "integer"}},
}


def openapi_resource(resources: Sequence[Resource[Any]], catalog: Catalog) -> Resource[None]:
    """`GET /schema`, whose document is made once: JSON, or a page where a browser asks."""
    tree = openapi(resources, catalog)
    document = msgspec.Raw(msgspec.json.encode(tree))

    async def get_schema(call: Call[None]) -> Answer | Response[str]:
        if "text/html" in call.request.headers.get("accept", ""):
            return schema_page(tree)
        return Answer(document)

    return Resource(method="GET", path="/schema", may=None, handler=get_schema, summary="This document.")


def openapi(resources: Sequence[Resource[Any]], catalog: Catalog) -> dict[str, object]:
    """The document of these resources, under all their paths."""
    shapes = list(dict.fromkeys(s for r in resources for s in (r.asks, r.answers, r.waits) if s not in (None, bytes)))
    schemas, components = msgspec.json.schema_components(shapes, schema_hook=_schema, ref_template=REF)
    named = dict(zip(shapes, schemas, strict=True))
    components = _plain_patterns(components) | {"Problem": PROBLEM}
    paths: dict[str, dict[str, object]] = {}
    for resource in resources:
        for path in resource.paths:
            operation = _operation(resource, path, named, components, catalog.error_prefix)
            paths.setdefault(_PARAMETER.sub(lambda m: f"{{{_camel(m['name'])}}}", path), {})[
                resource.method.lower()
            ] = operation
    document: dict[str, object] = {
        "openapi": "3.1.0",
        "info": {"title": f"{catalog.name} credits", "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }
    return document


def _operation(
    resource: Resource[Any], path: str, named: dict[Any, Any], components: dict[str, Any], prefix: str
) -> dict[str, object]:
    parameters: list[dict[str, object]] = [
        {"name": _camel(name), "in": "path", "required": True, "schema": ID} for name in _PARAMETER.findall(path)
    ]
    if resource.key != "none":
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": resource.key == "required",
                "schema": {"type": "string", "minLength": 1, "maxLength": 255},
            }
        )
    operation: dict[str, object] = {"summary": resource.summary, "operationId": _operation_id(resource, path)}
    if resource.asks is bytes:
        operation["requestBody"] = {"required": True, "content": {"*/*": {}}}
    elif resource.asks is not None and resource.method in ("GET", "DELETE"):
        parameters += _query_parameters(components[named[resource.asks]["$ref"].rpartition("/")[2]])
    elif resource.asks is not None:
        operation["requestBody"] = {"content": {"application/json": {"schema": named[resource.asks]}}}
    answer: dict[str, object] = {"description": "Done."}
    if resource.answers is not None:
        answer["content"] = {"application/json": {"schema": named[resource.answers]}}
    refuses: tuple[type[e.Refusal], ...] = resource.refuses if resource.may is None else ALWAYS + resource.refuses
    if resource.key != "none":
        refuses += (e.IdempotencyKeyMissing,)
    operation["parameters"] = parameters
    responses: dict[str, object] = {str(resource.status): answer}
    if resource.waits is not None:
        waits = {"application/json": {"schema": named[resource.waits]}}
        responses["202"] = {"description": "Kept: a person decides first.", "content": waits}
    for status, words in resource.also.items():
        responses[str(status)] = (answer if status < 300 else {}) | {"description": words}
    operation["responses"] = responses | _refusals(refuses, prefix)
    operation["security"] = [] if resource.may is None else [{"key": []}]
    return operation


def _query_parameters(shape: dict[str, Any]) -> list[dict[str, object]]:
    required = shape.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in shape["properties"].items()
    ]


def _refusals(refuses: Iterable[type[e.Refusal]], prefix: str) -> dict[str, object]:
    """Responses by status, each with an example of every refusal that has it."""
    by_status: dict[int, dict[str, object]] = {}
    for example in EXAMPLES:
        if type(example) in refuses:
            status = KINDS[type(example)].status
            by_status.setdefault(status, {})[example.code] = {"value": problem(example, prefix)}
    return {
        str(status): {
            "description": ", ".join(examples),
            "content": {
                "application/problem+json": {
                    "schema": {"$ref": REF.format(name="Problem")},
                    "examples": examples,
                }
            },
        }
        for status, examples in sorted(by_status.items())
    }


def _schema(kind: type) -> dict[str, object]:
    if kind in (Credits, CreditCount):
        return {"type": "string", "pattern": "^[0-9]{1,16}$", "examples": ["800"]}
    if kind is Dollars:
        return {"type": "string", "pattern": "^[0-9]{1,15}(\\.[0-9]{1,6})?$", "examples": ["50.00"]}
    raise NotImplementedError(f"no rule describes {kind}")


def _plain_patterns(tree: Any) -> Any:  # noqa: ANN401 - a JSON tree
    """JSON Schema's patterns know `^` and `$`, not Python's `\\A` and `\\Z`."""
    if isinstance(tree, dict):
        return {
            name: value.replace("\\A", "^").replace("\\Z", "$")
            if name == "pattern" and isinstance(value, str)
            else _plain_patterns(value)
            for name, value in tree.items()
        }
    if isinstance(tree, list | tuple):
        return [_plain_patterns(value) for value in tree]
    return tree


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _operation_id(resource: Resource[Any], path: str) -> str:
    words = re.findall(r"[A-Za-z0-9]+", _PARAMETER.sub("", path.removeprefix("/v1")))
    return "_".join([resource.method.lower(), *words]) + ("_one" if path.endswith("}") else "")
