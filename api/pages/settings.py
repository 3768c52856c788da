"""`/account/settings`: limits, alerts, coupon, API keys, and who the customer is; each part a form of its own.

A form that was carried out leads back to the page, which says so; one that was refused is shown again as it was sent.
"""

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from babel.core import Locale
from litestar import Response

from api import alerts, api_keys, coupons, limits, profile
from api.body import PageQuery
from api.pages.forms import Form, bare_call, call, call_of, credits_text, read_credits, refused, see_other, text_or_none
from api.pages.frame import Visit
from api.pages.tongues import languages
from api.problems import KINDS
from engine.clock import new_id
from engine.rules.countries import COUNTRIES
from engine.rules.errors import CouponUnknown, Invalid, NotFound, Refusal
from engine.rules.profiles import PostalAddress
from receipts.phrases import LOCALES as RECEIPT_LOCALES

PATH = "/account/settings"
KEYS_SHOWN_MAX = 100

MAILS = {
    "paymentConfirmed": "A payment arrived (always sent)",
    "lowBalance": "Your balance falls to your threshold",
    "creditsExpiring": "Credits expire in 7 days, and in 1 day",
    "dailyLimitReached": "The daily limit was reached",
    "unusualActivity": "A key spends far more than it used to",
    "autoRecharge": "Auto-recharge failed or needs you",
    "refunds": "Money was sent back",
    "dailySummary": "What was spent, each day",
    "weeklySummary": "What was spent, each week",
}
"""The mails a customer may choose, in the order in which they are offered."""

DONE = {
    "profile": "Your details were saved.",
    "limits": "Your limits were saved. They count from the next spend on.",
    "alerts": "Your alerts were saved.",
    "key-changed": "The key was changed.",
    "key-revoked": "The key was revoked. It does not work any more.",
}
"""What the page says after a form was carried out."""

ADDRESS = ("line1", "line2", "postalCode", "city", "region", "country")
_PROFILE_FIELDS = {f"address.{name}": name for name in ADDRESS} | {"country": "homeCountry", "address": "line1"}
_LIMIT_FIELDS = {"dailySpendLimitCredits": "daily", "perCallLimitCredits": "perCall"}


def show(visit: Visit) -> Response[str]:
    """The page with what is set now."""
    return _page(visit, {})


def save_profile(visit: Visit) -> Response[Any]:
    """Change who the customer is."""
    form = visit.form
    payload: dict[str, object] = {
        name: text_or_none(form.get(name, "")) for name in ("name", "company", "taxId", "timezone")
    }
    payload |= {"email": form.get("email", "").strip(), "locale": form.get("locale", "")}
    payload["country"] = text_or_none(form.get("homeCountry", ""))
    address = {name: text_or_none(form.get(name, "")) for name in ADDRESS}
    payload["address"] = address if any(address.values()) else None

    def act() -> None:
        if "@" not in form.get("email", ""):
            raise Invalid("email", "Type the address that mails go to, such as you@company.com.")
        profile.put_profile(call_of(visit, profile.ProfileBody, payload))

    return _carried_out(visit, "profile", act, _PROFILE_FIELDS)


def save_limits(visit: Visit) -> Response[Any]:
    """Change what one day and one call may spend."""

    def act() -> None:
        limits.put_limits(call_of(visit, limits.LimitsBody, _limit_payload(visit)))

    return _carried_out(visit, "limits", act, _LIMIT_FIELDS)


def save_alerts(visit: Visit) -> Response[Any]:
    """Change the threshold and the mails that are wanted; a box that is not ticked is not sent."""

    def act() -> None:
        wanted = {name: name in visit.form for name in MAILS if name != "paymentConfirmed"}
        threshold = read_credits(visit, "threshold")
        payload = {
            "lowBalanceThresholdCredits": None if threshold is None else str(threshold),
            "emailNotifications": wanted,
        }
        alerts.put_alerts(call_of(visit, alerts.AlertsBody, payload))

    return _carried_out(visit, "alerts", act, {"lowBalanceThresholdCredits": "threshold"})


def redeem(visit: Visit) -> Response[Any]:
    """Redeem a coupon: the page says what it gave."""
    try:
        if not visit.form.get("code", "").strip():
            raise Invalid("code", "Type the code of your coupon.")
        if len(visit.form["code"]) > coupons.CODE_LENGTH_MAX:
            raise CouponUnknown
        given: Any = coupons.post_redeem(call_of(visit, coupons.RedeemBody, {"code": visit.form["code"]})).value
    except Refusal as refusal:
        return _again(visit, "coupon", refusal, {"": "code"})
    return _page(visit, {}, given=given)


def make_key(visit: Visit) -> Response[Any]:
    """Make a key and show it, once; sent again, the same form shows the same key."""
    try:
        made: Any = api_keys.post_key(call_of(visit, api_keys.ApiKeyBody, _key_payload(visit))).value
    except Refusal as refusal:
        return _again(visit, "key", refusal, _LIMIT_FIELDS)
    return _page(visit, {}, made=made)


def change_key(visit: Visit) -> Response[Any]:
    """Change a key's name and its own limits."""
    key_id = visit.path["key_id"]

    def act() -> None:
        api_keys.put_key(call_of(visit, api_keys.ApiKeyChange, _key_payload(visit), key_id=key_id))

    return _carried_out(visit, key_id, act, _LIMIT_FIELDS, done="key-changed", part="keys")


def revoke_key(visit: Visit) -> Response[Any]:
    """Revoke a key, at once; one that is revoked already is what was wanted."""
    with contextlib.suppress(NotFound):
        api_keys.delete_key(bare_call(visit, key_id=visit.path["key_id"]))
    return see_other(f"{PATH}?done=key-revoked#keys")


def _key_payload(visit: Visit) -> dict[str, object]:
    name = visit.form.get("name", "").strip()
    if not name:
        raise Invalid("name", "Give the key a name that says where it is used.")
    return {"name": name, **_limit_payload(visit)}


def _limit_payload(visit: Visit) -> dict[str, object]:
    daily, per_call = read_credits(visit, "daily"), read_credits(visit, "perCall")
    return {
        "dailySpendLimitCredits": None if daily is None else str(daily),
        "perCallLimitCredits": None if per_call is None else str(per_call),
    }


def _carried_out(
    visit: Visit,
    section: str,
    act: Callable[[], None],
    fields: Mapping[str, str],
    done: str | None = None,
    part: str | None = None,
) -> Response[Any]:
    """Do it and go back to the page, or show the form again with what was wrong."""
    try:
        act()
    except Refusal as refusal:
        return _again(visit, section, refusal, fields)
    return see_other(f"{PATH}?done={done or section}#{part or section}")


def _again(visit: Visit, section: str, refusal: Refusal, fields: Mapping[str, str]) -> Response[str]:
    status = KINDS[type(refusal)].status
    return _page(visit, {section: refused(visit, {}, refusal, fields)}, status=status)


def _page(
    visit: Visit, forms: Mapping[str, Form], *, status: int = 200, given: object = None, made: object = None
) -> Response[str]:
    """Everything that is set, a refused form in the place of what it would have changed."""
    keys: Any = api_keys.list_keys(call(visit, PageQuery(limit=KEYS_SHOWN_MAX))).value
    shown = {
        "profile": _profile_form(visit),
        "limits": _limits_form(visit),
        "alerts": _alerts_form(visit),
        "coupon": Form({"code": ""}),
        "key": Form({"name": "", "daily": "", "perCall": ""}),
        **{key.id: _key_form(visit, key) for key in keys.api_keys},
    }
    shown |= forms
    done = visit.query.get("done", "") if visit.request.method == "GET" else ""
    return visit.page(
        "settings.html",
        status,
        forms=shown,
        refused_part=next(iter(forms), ""),
        keys=keys.api_keys,
        mails=MAILS,
        done=DONE.get(done),
        done_part="keys" if done.startswith("key-") else done,
        given=given,
        made=made,
        view=new_id("view", visit.now),
        may_write=visit.may("settings.write"),
        may_buy=visit.may("buy"),
        countries=_countries(visit),
        locales=_locales(shown["profile"].value("locale")),
    )


def _profile_form(visit: Visit) -> Form:
    who: Any = profile.get_profile(bare_call(visit)).value
    address = who.address or PostalAddress()
    values = {name: getattr(who, name) or "" for name in ("name", "email", "locale", "timezone", "company")}
    values |= {"taxId": who.tax_id or "", "homeCountry": who.country or ""}
    fields = ("line1", "line2", "postal_code", "city", "region", "country")
    values |= {name: getattr(address, own) or "" for name, own in zip(ADDRESS, fields, strict=True)}
    return Form(values)


def _limits_form(visit: Visit) -> Form:
    now_is: Any = limits.get_limits(bare_call(visit)).value
    return _limit_values(visit, now_is.daily_spend_limit_credits, now_is.per_call_limit_credits, {})


def _key_form(visit: Visit, key: api_keys.ApiKeyView) -> Form:
    own = key.limits
    return _limit_values(visit, own.daily_spend_limit_credits, own.per_call_limit_credits, {"name": key.name})


def _limit_values(visit: Visit, daily: str | None, per_call: str | None, others: dict[str, str]) -> Form:
    unit = visit.runtime.catalog.unit
    values = {"daily": daily, "perCall": per_call}
    return Form(others | {name: credits_text(value, unit, visit.tongue) for name, value in values.items()})


def _alerts_form(visit: Visit) -> Form:
    now_is: Any = alerts.get_alerts(bare_call(visit)).value
    threshold = credits_text(now_is.low_balance_threshold_credits, visit.runtime.catalog.unit, visit.tongue)
    notes = now_is.email_notifications
    names = dict(zip(notes.__struct_encode_fields__, notes.__struct_fields__, strict=True))
    ticked = {name: "on" for name in MAILS if getattr(notes, names[name])}
    return Form({"threshold": threshold} | ticked)


def _countries(visit: Visit) -> list[tuple[str, str]]:
    """Every country by its name in the visit's language, in that language's order as far as its letters go."""
    territories = visit.tongue.locale.territories
    return sorted(((code, territories.get(code, code)) for code in COUNTRIES), key=lambda each: each[1])


def _locales(present: str) -> list[tuple[str, str]]:
    """The languages of pages and documents by their own names, and the present one whatever it is."""
    tags = {*languages(), *(path.name for path in RECEIPT_LOCALES.iterdir() if path.is_dir())}
    named = [(tag, Locale.parse(tag).get_display_name(tag) or tag) for tag in sorted(tags)]
    return named if present in tags or not present else [(present, present), *named]
