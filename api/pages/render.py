"""Templates to responses: one environment, escaped and strict, and the headers that every page carries."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup

from api.instants import instant
from api.pages import words
from api.pages.assets import Asset
from api.pages.words import Words
from engine.flows.expiry import settled_wallet
from engine.rules.errors import NotFound

if TYPE_CHECKING:
    from api.pages.frame import Visit

HERE = Path(__file__).parent.parent / "templates"

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cache-control": "no-store",
}
"""On every answer of a page. `same-origin` keeps the Origin header on our own forms and tells other sites nothing.

`form-action 'self'` holds although a POST ends at a provider: such a POST leads to a page of our own that goes on
(`topup.leave`), because Chromium applies form-action to every redirect that follows a form.
"""


class Templates:
    """The page templates of one process."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._environment = Environment(
            loader=FileSystemLoader([HERE / "pages", HERE]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals.update(
            asset=lambda name: assets[name].path,
            money=words.money,
            money_short=words.money_short,
            status_names=words.STATUS_NAMES,
            queue_names=words.QUEUE_NAMES,
        )
        self._environment.filters.update(
            day=words.day,
            moment=words.moment,
            iso=instant,
            expiry=words.expiry,
            until=words.until,
            duration=words.duration,
            provider=words.provider_name,
            type_name=words.type_name,
            source_name=words.source_name,
            bucket_name=words.bucket_name,
            document_name=words.document_name,
            person=words.person,
            act_name=words.act_name,
            feature_name=words.feature_name,
            time=_time,
        )

    def page(self, visit: "Visit", template: str, status: int, values: Mapping[str, object]) -> Response[str]:
        """The template filled in. Customers' pages also show their balance in the header."""
        runtime = visit.runtime
        balance = None
        if visit.account_id and status < 500:
            with suppress(NotFound):
                balance = settled_wallet(runtime, visit.account_id, visit.now).available_credits
        text = self._environment.get_template(template).render(
            site=runtime.catalog,
            words=Words(runtime.catalog),
            principal=visit.principal,
            here=visit.request.url.path,
            balance_credits=balance,
            **values,
        )
        return Response(text, status_code=status, media_type="text/html; charset=utf-8", headers=dict(HEADERS))


def _time(at: datetime) -> Markup:
    """A `<time>` element with the instant for programs and words for people."""
    return Markup('<time datetime="{}">{}</time>').format(instant(at), words.moment(at))
