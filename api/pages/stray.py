"""Pages for people who came to an address that leads nowhere (any more): a used link, a path that is not there."""

from functools import cache
from typing import Any, Literal

from litestar import Request, Response

from api.pages.assets import read_assets
from api.pages.frame import Visit
from api.pages.render import Templates
from api.pages.tongues import tongue_of
from api.scope import Site

OURS = ("/v1/", "/webhooks/", "/static/", "/demo/", "/sandbox/")
"""Where programs ask: they are answered as programs, whatever they accept."""


def is_a_person(request: Request[Any, Any, Any]) -> bool:
    """Whether somebody with a browser looks for a page."""
    accepts_pages = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and accepts_pages and not request.url.path.startswith(OURS)


def stray_page(
    site: Site, request: Request[Any, Any, Any], why: Literal["link_over", "nowhere"], status: int
) -> Response[str]:
    """What happened in words, in the browser's language, and the way on."""
    wished = request.headers.get("accept-language", "").partition(",")[0].partition(";")[0].strip()
    visit = Visit(site, _templates(), request, "anyone", site.runtime.clock.now(), tongue=tongue_of(wished))
    return visit.page("stray.html", status, why=why)


@cache
def _templates() -> Templates:
    return Templates(read_assets())
