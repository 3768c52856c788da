"""The doors of Paddle's subscriptions: which request does what to the fake's books, and what it may carry."""

from collections.abc import Callable
from datetime import datetime

from tests.psp.fake_api import Request
from tests.psp.paddle_billing import PaddleBilling
from tests.psp.paddle_objects import Json
from tests.psp.paddle_world import PaddleSaysNo

_UPDATE = {"items", "custom_data", "proration_billing_mode", "scheduled_change", "next_billed_at"}
_CHARGE = {"effective_from", "items", "on_payment_failure"}


def asked(fake: PaddleBilling, request: Request) -> Json | None:
    """What a request about a subscription is answered with; `None` where it is about something else."""
    collection, _, rest = request.path.removeprefix("/").partition("/")
    if collection != "subscriptions":
        return None
    subscription_id, _, door = rest.partition("/")
    if request.method == "GET" and not door:
        return fake.subscription(subscription_id)
    doors: dict[tuple[str, str], tuple[set[str], Callable[[str, Json], Json]]] = {
        ("PATCH", ""): (_UPDATE, fake.update),
        ("PATCH", "preview"): (_UPDATE, fake.preview_update),
        ("POST", "charge"): (_CHARGE, fake.charge),
        ("POST", "charge/preview"): (_CHARGE, fake.preview_charge),
        ("POST", "pause"): ({"effective_from", "resume_at"}, fake.pause),
        ("POST", "resume"): ({"effective_from", "on_resume"}, fake.resume),
        ("POST", "cancel"): ({"effective_from"}, fake.cancel_subscription),
    }
    if (request.method, door) not in doors:
        raise PaddleSaysNo(404, "invalid_url", request.path)
    known, work = doors[request.method, door]
    strange = set(request.body) - known
    if strange:
        raise PaddleSaysNo(400, "invalid_field", f"Request contains unknown fields: {sorted(strange)}")
    return work(subscription_id, request.body)


def listed(fake: PaddleBilling, query: Json) -> list[Json]:
    """The transactions that a list asks for, oldest first."""
    found = list(fake.transactions.values())
    if "created_at[GTE]" in query:
        since = datetime.fromisoformat(query["created_at[GTE]"])
        found = [one for one in found if datetime.fromisoformat(one["created_at"]) >= since]
    for name in ("subscription_id", "origin"):
        if name in query:
            found = [one for one in found if one[name] == query[name]]
    if query.get("include") == "adjustment":
        found = [fake.with_adjustments(one["id"]) for one in found]
    return found
