"""Templates to responses: one environment, escaped and strict, and the headers that every page carries."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Response
from markupsafe import Markup

from api.instants import instant
from api.pages import words
from api.pages.assets import Asset
from api.pages.tongues import Tongue
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
    """The page templates of one process: one environment a language, made when it is first spoken."""

    def __init__(self, assets: Mapping[str, Asset]) -> None:
        self._assets = assets
        self._environments: dict[str, Environment] = {}
        self._lock = threading.Lock()

    def _environment(self, tongue: Tongue) -> Environment:
        with self._lock:
            found = self._environments.get(tongue.tag)
            if found is None:
                found = self._environments[tongue.tag] = environment(self._assets, tongue)
            return found

    def page(self, visit: "Visit", template: str, status: int, values: Mapping[str, object]) -> Response[str]:
        """The template filled in. Customers' pages also show their balance in the header."""
        runtime = visit.runtime
        balance = None
        if visit.account_id and status < 500:
            with suppress(NotFound):
                balance = settled_wallet(runtime, visit.account_id, visit.now).available_credits
        text = (
            self._environment(visit.tongue)
            .get_template(template)
            .render(
                site=runtime.catalog,
                words=Words(runtime.catalog, visit.tongue),
                principal=visit.principal,
                signs_in=visit.signs_in,
                here=visit.request.url.path,
                balance_credits=balance,
                **values,
            )
        )
        return Response(text, status_code=status, media_type="text/html", headers=dict(HEADERS))


def environment(assets: Mapping[str, Asset], tongue: Tongue) -> Environment:
    """Templates that speak one language: escaped, strict, its words and forms of numbers built in."""
    made = Environment(
        loader=FileSystemLoader([HERE / "pages", HERE]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    install: Any = made
    install.install_gettext_callables(tongue.phrases.gettext, tongue.phrases.ngettext, newstyle=True)
    made.globals.update(
        asset=lambda name: assets[name].path,
        tongue=tongue,
        say=tongue.say,
        money=partial(words.money, tongue=tongue),
        money_short=partial(words.money_short, tongue=tongue),
        status_names=words.STATUS_NAMES,
        queue_names=words.QUEUE_NAMES,
    )
    spoken: dict[str, Callable[..., str]] = {
        "day": words.day,
        "moment": words.moment,
        "expiry": words.expiry,
        "until": words.until,
        "type_name": words.type_name,
        "source_name": words.source_name,
        "bucket_name": words.bucket_name,
        "document_name": words.document_name,
        "feature_name": words.feature_name,
        "time": _time,
    }
    made.filters.update({name: partial(write, tongue=tongue) for name, write in spoken.items()})
    made.filters.update(
        iso=instant,
        count=tongue.number,
        duration=words.duration,
        provider=words.provider_name,
        person=words.person,
        act_name=words.act_name,
    )
    return made


def _time(at: datetime, tongue: Tongue) -> Markup:
    """A `<time>` element with the instant for programs and words for people."""
    return Markup('<time datetime="{}">{}</time>').format(instant(at), words.moment(at, tongue))
