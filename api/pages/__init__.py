"""The pages: what customers and support agents open in a browser.

```
Visit (frame)  one request, read and allowed        words, amounts, charts   values into text and numbers
Templates (render)  template → response, headers    assets                   files under hashed names
topup → returning      usage      billing      desk, staff                   the pages themselves
```

`page_handlers` is all that a server needs; `create_app` takes what it answers.
"""

from functools import partial
from typing import Any

from litestar import Response
from litestar.handlers import HTTPRouteHandler

from api.pages import billing, desk, returning, staff, topup, usage
from api.pages.assets import asset_handler, read_assets
from api.pages.frame import Page, Visit, page_route
from api.pages.render import Templates
from api.pages.returning import Patience
from receipts.render import Renderer


def page_handlers(renderer: Renderer) -> list[HTTPRouteHandler]:
    """Every page, and the static files they use, as handlers; PDFs are made by this renderer."""
    assets = read_assets()
    templates = Templates(assets)
    return [asset_handler(assets), *(page_route(page, templates) for page in _pages(renderer))]


def _pages(renderer: Renderer) -> tuple[Page, ...]:
    patience = Patience()

    async def pdf(visit: Visit) -> Response[Any]:
        return await billing.pdf(visit, renderer)

    return (
        Page(method="GET", path=topup.PATH, reader="customer", may="buy", handler=topup.show),
        Page(method="POST", path=topup.PATH, reader="customer", may="buy", handler=topup.pay),
        Page(
            method="GET",
            path=f"{topup.PATH}/leave/{{purchase_id:str}}",
            reader="customer",
            may="buy",
            handler=topup.leave,
        ),
        Page(
            method="GET",
            path=returning.PATH,
            reader="customer",
            handler=partial(returning.show, patience=patience),
        ),
        Page(
            method="GET",
            path=f"{returning.PATH}/status",
            reader="customer",
            handler=partial(returning.status, patience=patience),
        ),
        Page(method="GET", path="/account/usage", reader="customer", handler=usage.show),
        Page(method="GET", path="/account/billing", reader="customer", handler=billing.show),
        Page(method="GET", path="/account/billing/receipts/{file:str}", reader="customer", handler=pdf),
        Page(method="GET", path="/account/subscribe", reader="customer", handler=billing.subscribe),
        Page(method="POST", path="/account/sign-out", reader="anyone", handler=staff.sign_out),
        Page(method="GET", path="/support", reader="staff", may="support", handler=desk.home),
        Page(method="POST", path="/support/sign-in", reader="anyone", handler=staff.sign_in),
        Page(
            method="GET",
            path="/support/accounts/{account_id:str}",
            reader="staff",
            may="support",
            handler=desk.account,
        ),
        Page(
            method="GET",
            path="/support/purchases/{purchase_id:str}",
            reader="staff",
            may="support",
            handler=desk.purchase,
        ),
        Page(
            method="POST",
            path="/support/purchases/{purchase_id:str}/reverse",
            reader="staff",
            may="support",
            handler=desk.reverse,
        ),
        Page(
            method="POST",
            path="/support/reversals/{reversal_id:str}/{decision:str}",
            reader="staff",
            may="approve",
            handler=desk.decide,
        ),
    )
