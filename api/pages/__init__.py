"""The pages: what customers and support agents open in a browser.

```
Visit (frame)  one request, read and allowed        words, amounts, charts   values into text and numbers
Templates (render)  template → response, headers    assets                   files under hashed names
tongues            the language of a visit          forms                    what was typed, read and shown again
topup → returning   usage   billing   settings   subscribing   desk (+ _queues, _acts), staff   the pages themselves
stray              a used link, a path that is not there
signing            from a page without a session to the OIDC issuer, and back
```

`page_handlers` is all that a server needs; `create_app` takes what it answers.
"""

from functools import partial
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from api.auth import Action
from api.pages import (
    billing,
    confirming,
    desk,
    desk_acts,
    desk_queues,
    recharging,
    returning,
    settings,
    signing,
    staff,
    subscribing,
    topup,
    usage,
)
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Handler, Page, Visit, page_route
from api.pages.render import Templates
from api.pages.returning import Patience
from receipts.render import Renderer


def page_handlers(renderer: Renderer) -> list[HTTPRouteHandler]:
    """Every page, and the static files they use, as handlers; PDFs are made by this renderer."""
    assets = read_assets()
    templates = Templates(assets)
    return [asset_handler(assets), *(page_route(page, templates) for page in all_pages(renderer))]


def all_pages(renderer: Renderer) -> tuple[Page, ...]:
    """Every page as a value: its path, and who may open it."""
    return (*_customer_pages(renderer), *_staff_pages(renderer))


def _customer_pages(renderer: Renderer) -> tuple[Page, ...]:
    patience = Patience()

    async def pdf(visit: Visit) -> Response[Any]:
        return await billing.pdf(visit, renderer)

    def get(path: str, handler: Handler, may: Action = "read") -> Page:
        return Page(method="GET", path=path, reader="customer", may=may, handler=handler)

    return (
        get(topup.PATH, topup.show, "buy"),
        Page(method="POST", path=topup.PATH, reader="customer", may="buy", handler=topup.pay),
        get(f"{topup.PATH}/leave/{{purchase_id:str}}", topup.leave, "buy"),
        get(returning.PATH, partial(returning.show, patience=patience)),
        get(f"{returning.PATH}/status", partial(returning.status, patience=patience)),
        get("/account/usage", usage.show),
        get("/account/usage/export", usage.download),
        get("/account/billing", billing.show),
        get("/account/billing/receipts/{file:str}", pdf),
        *_money_pages(),
        *_settings_pages(),
        Page(method="GET", path=confirming.PATH, reader="anyone", handler=confirming.show),
        Page(method="POST", path=confirming.PATH, reader="anyone", handler=confirming.confirm),
        Page(method="GET", path=signing.PATH, reader="anyone", handler=signing.go),
        Page(method="GET", path=signing.CALLBACK_PATH, reader="anyone", handler=signing.come_back),
        Page(method="POST", path="/account/sign-out", reader="anyone", handler=staff.sign_out),
    )


def _money_pages() -> tuple[Page, ...]:
    def post(path: str, handler: Handler) -> Page:
        return Page(method="POST", path=path, reader="customer", may="settings.write", handler=handler)

    card = "/account/billing/cards/{method_id:str}"
    return (
        post("/account/billing/auto-recharge", billing.save_recharge),
        post(f"{card}/default", recharging.make_default),
        post(f"{card}/remove", recharging.remove),
        post("/account/billing/provider", recharging.portal),
        post("/account/billing/receipts/{file:str}/invoice", billing.invoice),
        Page(
            method="GET",
            path=subscribing.PATH,
            reader="customer",
            may="settings.read",
            handler=subscribing.show,
        ),
        Page(
            method="GET",
            path=f"{subscribing.PATH}/preview",
            reader="customer",
            may="settings.write",
            handler=subscribing.preview,
        ),
        post(f"{subscribing.PATH}/change", subscribing.change),
        post(f"{subscribing.PATH}/{{act:str}}", subscribing.act),
    )


def _settings_pages() -> tuple[Page, ...]:
    def post(path: str, handler: Handler, may: Action = "settings.write") -> Page:
        return Page(method="POST", path=f"{settings.PATH}/{path}", reader="customer", may=may, handler=handler)

    return (
        Page(method="GET", path=settings.PATH, reader="customer", may="settings.read", handler=settings.show),
        post("profile", settings.save_profile),
        post("limits", settings.save_limits),
        post("alerts", settings.save_alerts),
        post("coupon", settings.redeem, "buy"),
        post("keys", settings.make_key),
        post("keys/{key_id:str}", settings.change_key),
        post("keys/{key_id:str}/revoke", settings.revoke_key),
    )


def _staff_pages(renderer: Renderer) -> tuple[Page, ...]:
    async def pdf(visit: Visit) -> Response[Any]:
        return await desk_acts.pdf(visit, renderer)

    def get(path: str, handler: Handler) -> Page:
        return Page(method="GET", path=path, reader="staff", may="support", handler=handler)

    def post(path: str, handler: Handler, may: Action) -> Page:
        return Page(method="POST", path=path, reader="staff", may=may, handler=handler)

    return (
        get("/support", desk.home),
        Page(method="POST", path="/support/sign-in", reader="anyone", handler=staff.sign_in),
        get("/support/accounts/{account_id:str}", desk.account),
        get("/support/accounts/{account_id:str}/timeline", desk_acts.history),
        get("/support/accounts/{account_id:str}/documents/{file:str}", pdf),
        post("/support/accounts/{account_id:str}/corrections", desk_acts.correction, "admin"),
        get("/support/queues/{queue:str}", desk_queues.show),
        post("/support/queues/{queue:str}/{item_id:str}/resolve", desk_queues.decide, "support"),
        get("/support/purchases/{purchase_id:str}", desk.purchase),
        post("/support/purchases/{purchase_id:str}/refund", desk_acts.refund, "support"),
        post("/support/purchases/{purchase_id:str}/reverse", desk.reverse, "support"),
        post("/support/reversals/{reversal_id:str}/{decision:str}", desk.decide, "approve"),
    )
