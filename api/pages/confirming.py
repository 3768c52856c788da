"""The page behind a mailed link: a customer confirms a payment that their bank wanted to see them for.

The link is the credential, and opening it does nothing, so that a mail scanner confirms no payment; the button sends
the customer to their bank's page for that very payment.
"""

from typing import Any

from litestar import Response

from api.pages.frame import Visit
from engine.flows.recharge import confirm_url
from engine.flows.recharge_outcome import is_confirm_token
from engine.payments import ProviderRefused, ProviderUnreachable
from engine.rules.errors import NotFound, Unavailable
from engine.store import purchases
from engine.store.database import reading
from engine.store.tables import PurchaseRow, RechargeRow

PATH = "/auto-recharge/confirm/{purchase_id:str}"


def show(visit: Visit) -> Response[Any]:
    """What is to be confirmed, and the button; or that there is nothing left to confirm."""
    purchase, row = _named(visit)
    is_open = row.status == "requires_action"
    return visit.page("confirm.html", purchase=purchase, is_open=is_open, token=visit.query["token"], bank_url=None)


def confirm(visit: Visit) -> Response[Any]:
    """On to the bank, by itself and by a link."""
    purchase, _ = _named(visit)
    try:
        url = confirm_url(visit.runtime, purchase.purchase_id)
    except (ProviderUnreachable, ProviderRefused) as error:
        raise Unavailable("The payment provider does not answer; try again in a moment.") from error
    return visit.page("confirm.html", purchase=purchase, is_open=url is not None, token="", bank_url=url)


def _named(visit: Visit) -> tuple[PurchaseRow, RechargeRow]:
    """The payment of the link; a link that we did not make leads nowhere."""
    purchase_id = visit.path["purchase_id"]
    token = visit.query.get("token") or visit.form.get("token") or ""
    if not is_confirm_token(visit.runtime, purchase_id, token):
        raise NotFound("payment")
    with reading(visit.runtime.db) as session:
        account_id = purchases.find_account(session, purchase_id)
        purchase = purchases.get_purchase(session, account_id, purchase_id) if account_id is not None else None
        row = session.get(RechargeRow, (account_id, purchase_id)) if account_id is not None else None
    if purchase is None or row is None:
        raise NotFound("payment")
    return purchase, row
