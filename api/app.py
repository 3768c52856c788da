"""The application: every resource of the API on one runtime."""

from collections.abc import Sequence
from typing import Any

from litestar import Litestar
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from api import (
    accounts,
    admin,
    alerts,
    api_keys,
    balance,
    batch,
    cards,
    coupons,
    entitlements,
    grants,
    health,
    holds,
    identities,
    limits,
    payments,
    portal,
    profile,
    purchases,
    queues,
    quotes,
    recharge,
    refunds,
    spends,
    subscriptions,
    support,
    timeline,
    topups,
    transactions,
    usage,
    webhook_endpoints,
    webhooks,
)
from api.auth import Keyring
from api.front import Front
from api.oidc import TokenReader
from api.openapi import openapi_resource
from api.problems import exception_handlers
from api.rates import Rates
from api.scope import Resource, Site, route
from api.settings import Settings
from api.sign_in import CALLBACK_PATH, SignIn
from engine.runtime import Runtime

BODY_BYTES_MAX = 1024 * 1024
"""No request is larger, unless its resource says so."""

RESOURCES: tuple[Resource[Any], ...] = (
    *accounts.RESOURCES,
    *balance.RESOURCES,
    *transactions.RESOURCES,
    *usage.RESOURCES,
    *spends.RESOURCES,
    *batch.RESOURCES,
    *holds.RESOURCES,
    *limits.RESOURCES,
    *alerts.RESOURCES,
    *grants.RESOURCES,
    *quotes.RESOURCES,
    *topups.RESOURCES,
    *payments.RESOURCES,
    *purchases.RESOURCES,
    *support.RESOURCES,
    *refunds.RESOURCES,
    *queues.RESOURCES,
    *timeline.RESOURCES,
    *admin.RESOURCES,
    *coupons.RESOURCES,
    *subscriptions.RESOURCES,
    *entitlements.RESOURCES,
    *api_keys.RESOURCES,
    *identities.RESOURCES,
    *profile.RESOURCES,
    *cards.RESOURCES,
    *recharge.RESOURCES,
    *webhooks.RESOURCES,
    *webhook_endpoints.RESOURCES,
    *portal.RESOURCES,
    *health.RESOURCES,
)


def create_app(
    runtime: Runtime, settings: Settings, extra_handlers: "Sequence[Resource[Any] | ControllerRouterHandler]" = ()
) -> Litestar:
    """The API with what `extra_handlers` add to it: resources, or the framework's own handlers.

    `app.state.site` holds the runtime, the settings and the keyring. The caller closes the runtime.
    """
    oidc, sign_in = settings.oidc, None
    tokens = None if oidc is None else TokenReader(oidc)
    if oidc is not None and oidc.client_id is not None and tokens is not None:
        sign_in = SignIn(oidc, tokens, f"{runtime.base_url}{CALLBACK_PATH}")
    site = Site(runtime, settings, Keyring(runtime, tokens, Rates(settings.rates)), sign_in)
    resources: list[Resource[Any]] = [*RESOURCES, *(extra for extra in extra_handlers if isinstance(extra, Resource))]
    resources.append(openapi_resource(resources, runtime.catalog))
    handlers: list[ControllerRouterHandler] = [route(resource, site) for resource in resources]
    handlers.extend(extra for extra in extra_handlers if not isinstance(extra, Resource))
    app = Litestar(
        route_handlers=handlers,
        exception_handlers=exception_handlers(runtime.catalog.error_prefix),
        state=State({"site": site}),
        openapi_config=None,
        logging_config=None,
        request_max_body_size=BODY_BYTES_MAX,
        debug=False,
    )
    app.asgi_handler = Front(app.asgi_handler, site, resources)
    return app
