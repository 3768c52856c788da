"""`POST /v1/support/purchases/{id}/refunds`: money back by the catalogue's policy."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.scope import Answer, Call, Resource
from api.support import Reason, Reversal, checked_reason, reversal
from engine.flows.policy_refunds import PolicyRefund, refund_purchase
from engine.rules.errors import (
    AlreadyRefunded,
    IdempotencyMismatch,
    NotFound,
    RefundCreditsTouched,
    RefundNotPossible,
    WalletNotActive,
)


class RefundBody(Body, frozen=True, kw_only=True):
    """Without `amountMinor` the unspent share goes back: what remains of the credits, as a share of the money."""

    reason: Reason
    amount_minor: Annotated[int, Meta(ge=1, le=2**53)] | None = None


def post_refund(call: Call[RefundBody]) -> Answer:
    """Propose or carry out a refund: credits first; the money follows at once, or after approval."""
    assert call.key is not None and call.principal is not None
    wanted = PolicyRefund(
        purchase_id=call.path["purchase_id"],
        amount_minor=call.ask.amount_minor,
        reason=checked_reason(call.ask.reason),
        actor=call.actor,
        is_admin=call.principal.role == "admin",
        key=call.key,
    )
    row, is_replay = refund_purchase(call.runtime, wanted)
    call.runtime.wake_jobs()
    return Answer(reversal(row), is_replay=is_replay)


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="/v1/support/purchases/{purchase_id:str}/refunds",
        may="support",
        handler=post_refund,
        asks=RefundBody,
        answers=Reversal,
        status=202,
        key="required",
        refuses=(
            NotFound,
            AlreadyRefunded,
            RefundNotPossible,
            RefundCreditsTouched,
            WalletNotActive,
            IdempotencyMismatch,
        ),
        summary="Give a part or all of a purchase back, as the refund policy allows.",
    ),
)
