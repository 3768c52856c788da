"""Static files, each under a name that carries its content's hash, so that a browser may keep it for good."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from litestar import Request, Response
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler

from engine.rules.errors import NotFound

HERE = Path(__file__).parent.parent / "static"
NAMES = ("purser.css", "topup.js", "waiting.js", "icon.svg")
MEDIA_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}
_HASH_CHARS = 16


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is served: `/static/topup.1f2e3d….js`."""

    path: str
    media_type: str
    content: bytes


def read_assets() -> dict[str, Asset]:
    """Every asset by its plain name."""
    found = {}
    for name in NAMES:
        content = (HERE / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()[:_HASH_CHARS]
        stem, _, ending = name.rpartition(".")
        found[name] = Asset(f"/static/{stem}.{digest}.{ending}", MEDIA_TYPES[ending], content)
    return found


def asset_handler(assets: dict[str, Asset]) -> HTTPRouteHandler:
    """Serves these files and nothing else; a name with another hash is not there."""
    by_path = {asset.path: asset for asset in assets.values()}

    async def serve(request: Request[object, object, State]) -> Response[bytes]:
        asset = by_path.get(request.url.path)
        if asset is None:
            raise NotFound("file")
        return Response(asset.content, media_type=asset.media_type, headers=_HEADERS)

    return HTTPRouteHandler(path="/static/{file:str}", http_method="GET", include_in_schema=False)(serve)
