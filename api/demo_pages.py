"""Pages of the demo and the sandbox provider: templates, one stylesheet, a strict policy, no script at all."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler

from api.pages.assets import read_assets

HERE = Path(__file__).parent
_templates = Environment(
    loader=FileSystemLoader(HERE / "templates" / "demo"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["icon"] = read_assets()["icon.svg"].path

AnyRequest = Request[object, object, State]


def page(template: str, status: int = 200, form_targets: Sequence[str] = (), **values: object) -> Response[str]:
    """The template as a response. `form_targets` are origins beside our own that a form may end at by redirect."""
    policy = (
        "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; "
        "form-action " + " ".join(dict.fromkeys(["'self'", *form_targets]))
    )
    return Response(
        _templates.get_template(template).render(values),
        status_code=status,
        media_type="text/html",
        headers={
            "Content-Security-Policy": policy,
            "Referrer-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )


def wants_html(request: AnyRequest) -> bool:
    """Whether a browser asks: programs accept anything, or JSON by name."""
    return "text/html" in request.headers.get("accept", "")


@get("/demo/static/demo.css", include_in_schema=False, sync_to_thread=False)
def stylesheet() -> Response[bytes]:
    return Response((HERE / "static" / "purser.css").read_bytes(), media_type="text/css")


PAGE_HANDLERS: tuple[BaseRouteHandler, ...] = (stylesheet,)
