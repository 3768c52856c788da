"""Every refusal as an RFC 9457 problem: one table from its class to status, title and type.

A problem's body is `type`, `title`, `status`, `detail`, `code` (the catalogue's prefix and the refusal's code) and
the refusal's facts. What the framework refuses (an unknown path, another method, a body too large) has the same form.
An unexpected error is logged and answered without a word about its inside.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException

from engine.rules import errors as e

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = {429: "60", 503: "1"}
INTERNAL = "INTERNAL"
"""The code of an unexpected error."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a refusal is answered. `type` is a URN: it names the kind of problem and leads nowhere."""

    status: int
    title: str

    @property
    def type(self) -> str:
        return "urn:purser:problem:" + self.title.lower().replace(" ", "-")


KINDS: dict[type[e.Refusal], Kind] = {
    e.Invalid: Kind(400, "Invalid request"),
    e.NotFound: Kind(404, "Not found"),
    e.Unauthenticated: Kind(401, "Not authenticated"),
    e.Forbidden: Kind(403, "Not allowed"),
    e.InsufficientCredits: Kind(402, "Insufficient credits"),
    e.LimitReached: Kind(402, "Limit reached"),
    e.BelowMinimum: Kind(400, "Amount below the minimum"),
    e.AboveMaximum: Kind(400, "Amount above the maximum"),
    e.MalformedAmount: Kind(400, "Malformed amount"),
    e.ReturnUrlRefused: Kind(400, "Return URL refused"),
    e.QuoteRefused: Kind(400, "Quote refused"),
    e.CouponUnknown: Kind(404, "Coupon unknown"),
    e.CouponRedeemed: Kind(409, "Coupon already redeemed"),
    e.CouponExpired: Kind(410, "Coupon expired"),
    e.CouponTermsNotMet: Kind(403, "Coupon terms not met"),
    e.CouponUsedUp: Kind(409, "Coupon used up"),
    e.RateLimited: Kind(429, "Too many requests"),
    e.TopUpNotInPlan: Kind(403, "Top-up not in plan"),
    e.FeatureNotInPlan: Kind(403, "Feature not in plan"),
    e.PlanElsewhere: Kind(409, "Plan managed elsewhere"),
    e.HoldEnded: Kind(409, "Hold ended"),
    e.HoldExpired: Kind(409, "Hold expired"),
    e.HoldTooSmall: Kind(409, "Hold too small"),
    e.SpendAlreadyReversed: Kind(409, "Spend already reversed"),
    e.AccountExists: Kind(409, "Account exists"),
    e.WalletNotActive: Kind(403, "Wallet not active"),
    e.WalletInDebt: Kind(403, "Wallet in debt"),
    e.IdempotencyKeyMissing: Kind(400, "Idempotency key missing"),
    e.IdempotencyMismatch: Kind(422, "Idempotency key used for another request"),
    e.RefundWindowClosed: Kind(409, "Refund window closed"),
    e.RefundCreditsTouched: Kind(409, "Refund credits touched"),
    e.AlreadyRefunded: Kind(409, "Already refunded"),
    e.RefundNotPossible: Kind(409, "Refund not possible"),
    e.OwnApproval: Kind(409, "Own approval"),
    e.WebhookRefused: Kind(400, "Webhook refused"),
    e.Unavailable: Kind(503, "Unavailable"),
}

HUNG_UP = "client disconnected prematurely"
"""What Litestar calls a body whose sender left before its end: no fault of ours, and nobody reads the answer."""

FRAMEWORK: dict[int, tuple[str, Kind, str]] = {
    404: ("NOT-FOUND", KINDS[e.NotFound], "There is nothing at this path."),
    405: ("INVALID", Kind(405, "Method not allowed"), "This path does not answer that method."),
    413: ("INVALID", Kind(413, "Body too large"), "The request's body is larger than this path takes."),
}
"""What the framework refuses by itself, by status; any other 4xx is an invalid request."""


def problem(refusal: e.Refusal, prefix: str) -> dict[str, object]:
    """The body of a refusal's problem; facts follow the standard members and never replace them."""
    kind = KINDS[type(refusal)]
    members = _members(kind, refusal.detail, prefix + refusal.code)
    return {**members, **refusal.facts, **members}


def respond(refusal: e.Refusal, prefix: str) -> Response[bytes]:
    """The refusal as a response, with `WWW-Authenticate` or `Retry-After` where its status asks for them."""
    status = KINDS[type(refusal)].status
    headers = {"cache-control": "no-store"}
    if status == 401:
        headers["www-authenticate"] = 'Bearer realm="purser"'
    if status in RETRY_AFTER_SECONDS:
        headers["retry-after"] = str(refusal.facts.get("retryAfterSeconds", RETRY_AFTER_SECONDS[status]))
    return _response(problem(refusal, prefix), status, headers)


def respond_to_framework(error: HTTPException, prefix: str) -> Response[bytes]:
    """What Litestar refused before any of our handlers ran."""
    status = error.status_code
    if error.detail == HUNG_UP:
        status = 400
    if status >= 500:
        return respond_to_bug(error, prefix)
    code, kind, detail = FRAMEWORK.get(
        status, ("INVALID", Kind(status, "Invalid request"), "The request is malformed.")
    )
    return _response(_members(kind, detail, prefix + code), status, dict(error.headers or {}))


def respond_to_bug(error: Exception, prefix: str) -> Response[bytes]:
    """An error that nobody foresaw: logged with its trace, answered with nothing of it."""
    return _response(bug_problem(error, prefix), 500, {})


def bug_problem(error: BaseException, prefix: str) -> dict[str, object]:
    """The body of an unexpected error's problem; the error goes to the log."""
    log.error("unexpected error", exc_info=error)
    detail = "Something went wrong here; a keyed request may be sent again with the same key."
    return _members(Kind(500, "Internal error"), detail, prefix + INTERNAL)


def exception_handlers(prefix: str) -> dict[int | type[Exception], Callable[[Request[Any, Any, Any], Any], Any]]:
    """The three ways out, for the application's table of exception handlers."""

    def on_refusal(_: Request[Any, Any, Any], error: e.Refusal) -> Response[bytes]:
        return respond(error, prefix)

    def on_framework(request: Request[Any, Any, Any], error: HTTPException) -> Response[Any]:
        from api.pages.stray import is_a_person, stray_page  # here, for pages stand on this module

        if error.status_code == 404 and is_a_person(request):
            return stray_page(request.app.state.site, request, "nowhere", 404)
        return respond_to_framework(error, prefix)

    def on_bug(_: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return respond_to_bug(error, prefix)

    return {e.Refusal: on_refusal, HTTPException: on_framework, Exception: on_bug}


def _members(kind: Kind, detail: str, code: str) -> dict[str, object]:
    return {"type": kind.type, "title": kind.title, "status": kind.status, "detail": detail, "code": code}


def _response(body: dict[str, object], status: int, headers: dict[str, str]) -> Response[bytes]:
    return Response(msgspec.json.encode(body), status_code=status, headers=headers, media_type=MEDIA_TYPE)
