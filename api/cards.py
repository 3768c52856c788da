"""Saved cards over HTTP: list, default, remove, and the provider's own page for the customer."""

from typing import Any, Literal

from api.body import Body, PageQuery
from api.scope import Answer, Call, Resource
from api.transactions import Pagination, View
from engine.flows import cards
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.rules.errors import NotFound, Unavailable, WalletNotActive
from engine.store.tables import PaymentMethodRow


class PaymentMethod(View, frozen=True, kw_only=True):
    """A saved card: all that is known of it here."""

    id: str
    provider: str
    brand: str
    last4: str
    exp_month: int
    exp_year: int
    is_default: bool


class PaymentMethods(View, frozen=True, kw_only=True):
    payment_methods: tuple[PaymentMethod, ...]
    pagination: Pagination


class DefaultBody(Body, frozen=True, kw_only=True):
    """A card becomes the default; another one takes that from it, never nobody."""

    default: Literal[True]


class PortalAnswer(View, frozen=True, kw_only=True):
    url: str


def list_methods(call: Call[PageQuery]) -> Answer:
    """The saved cards, the default first."""
    page, limit = call.ask.page, call.ask.limit
    found = cards.list_cards(call.runtime, call.account_id)
    views = tuple(map(method_view, found[(page - 1) * limit : page * limit]))
    return Answer(
        PaymentMethods(payment_methods=views, pagination=Pagination(page=page, limit=limit, total=len(found)))
    )


def put_method(call: Call[DefaultBody]) -> Answer:
    """Make a card the default."""
    return Answer(method_view(cards.make_default(call.runtime, call.account_id, call.path["method_id"])))


def delete_method(call: Call[None]) -> Answer:
    """Remove a card, and with it the auto-recharge that used it."""
    cards.remove_card(call.runtime, call.account_id, call.path["method_id"])
    return Answer(None)


def open_portal(call: Call[None]) -> Answer:
    """The provider's own page for this customer; asked for anew each time."""
    try:
        return Answer(PortalAnswer(url=cards.portal_url(call.runtime, call.account_id)))
    except (ProviderUnreachable, ProviderRefused) as error:
        raise Unavailable("The payment provider does not open its page now; try again later.") from error


def method_view(row: PaymentMethodRow) -> PaymentMethod:
    """A saved card in the contract's words."""
    return PaymentMethod(
        id=row.method_id,
        provider=row.provider,
        brand=row.brand,
        last4=row.last4,
        exp_month=row.exp_month,
        exp_year=row.exp_year,
        is_default=row.is_default,
    )


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="GET",
        path="payment-methods",
        may="settings.read",
        handler=list_methods,
        asks=PageQuery,
        answers=PaymentMethods,
        refuses=(NotFound,),
        summary="The saved cards, the default first.",
    ),
    Resource(
        method="PUT",
        path="payment-methods/{method_id:str}",
        may="settings.write",
        handler=put_method,
        asks=DefaultBody,
        answers=PaymentMethod,
        refuses=(NotFound, WalletNotActive),
        summary="Make a saved card the default.",
    ),
    Resource(
        method="DELETE",
        path="payment-methods/{method_id:str}",
        may="settings.write",
        handler=delete_method,
        status=204,
        refuses=(NotFound,),
        summary="Remove a saved card, and the auto-recharge that uses it.",
    ),
    Resource(
        method="POST",
        path="provider-portal",
        may="settings.write",
        handler=open_portal,
        answers=PortalAnswer,
        refuses=(NotFound, Unavailable),
        summary="The provider's own page for this customer.",
    ),
)
