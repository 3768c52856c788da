"""What support and administrators do from a page: refunds by policy, corrections, and an account's timeline."""

from typing import Any, Literal

from litestar import Response

from api.body import metadata_text
from api.grants import expiry_of
from api.pages import desk
from api.pages.amounts import parse_amount
from api.pages.frame import Visit
from api.pages.topup import see_other
from api.receipt_files import pdf_of
from api.scope import checked_key
from api.timeline import cursor_of, read_place
from engine.flows.admin import Proposed, correct
from engine.flows.expiry import settled_wallet
from engine.flows.policy_refunds import PolicyRefund, refund_purchase
from engine.rules.catalog import describe
from engine.rules.commands import AdminDebit, Grant
from engine.rules.errors import Invalid, NotFound, Refusal
from engine.rules.money import CREDITS_MAX
from engine.store import purchases
from engine.store.database import reading
from engine.store.tables import AccountRow
from engine.store.timeline import timeline
from receipts.render import Renderer

ROWS = 50


def refund(visit: Visit) -> Response[Any]:
    """Give a part of a purchase back, or propose to; a refusal shows the case again with the reason."""
    purchase_id = visit.path["purchase_id"]
    with reading(visit.runtime.db) as session:
        account_id = purchases.find_account(session, purchase_id)
        row = purchases.get_purchase(session, account_id, purchase_id) if account_id is not None else None
    if row is None:
        raise NotFound("purchase")
    try:
        wanted = PolicyRefund(
            purchase_id=purchase_id,
            amount_minor=parse_amount(visit.form.get("amount", ""), row.currency).minor,
            reason=_reason(visit),
            actor=visit.actor,
            is_admin=visit.may("admin"),
            key=checked_key(visit.form.get("view")),
        )
        made, _ = refund_purchase(visit.runtime, wanted)
    except Refusal as refusal:
        return desk.case_page(visit, refusal)
    visit.runtime.wake_jobs()
    done = "proposed" if made.status == "pending_approval" else "refunded"
    return see_other(f"/support/purchases/{purchase_id}?done={done}")


def correction(visit: Visit) -> Response[Any]:
    """Grant or take credits with a reason; above the limit this is a proposal."""
    account_id = visit.path["account_id"]
    try:
        reason = _reason(visit)
        command = _command(visit, account_id, reason)
        outcome = correct(visit.runtime, command, reason)
    except NotFound:
        raise
    except Refusal as refusal:
        return desk.account(visit, refusal)
    done = "correction-proposed" if isinstance(outcome, Proposed) else "corrected"
    return see_other(f"/support/accounts/{account_id}?done={done}")


def _command(visit: Visit, account_id: str, reason: str) -> Grant | AdminDebit:
    """The form as the command that the same act over HTTP makes, with the page's view as its key."""
    words, form = visit.runtime.catalog.descriptions, visit.form
    key, metadata = checked_key(form.get("view")), metadata_text({"reason": reason}, "reason")
    bucket = next((name for name in visit.runtime.catalog.buckets if name == form.get("bucket")), None)
    credits = _credits(form.get("credits", ""))
    kind: Literal["grant", "debit"] = "debit" if form.get("direction") == "debit" else "grant"
    if kind == "debit":
        description = describe(words.admin_debit, reason=reason)
        return AdminDebit(
            account_id=account_id,
            actor=visit.actor,
            credits=credits,
            description=description,
            bucket=bucket,
            metadata=metadata,
            key=key,
        )
    if bucket is None:
        raise Invalid("bucket", "Choose the bucket that the credits go to.")
    return Grant(
        operation="admin_grant",
        account_id=account_id,
        actor=visit.actor,
        type="admin_credit",
        source="admin",
        bucket=bucket,
        credits=credits,
        description=describe(words.admin_credit, reason=reason),
        expires_at=expiry_of(bucket, None),
        reference_type="admin",
        metadata=metadata,
        key=key,
    )


def _credits(text: str) -> int:
    digits = "".join(text.split()).replace(",", "")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 16 and 1 <= int(digits) <= CREDITS_MAX):
        raise Invalid("credits", "Type a whole number of credits, such as 500.")
    return int(digits)


def _reason(visit: Visit) -> str:
    reason = visit.form.get("reason", "").strip()
    if not reason or len(reason) > desk.REASON_MAX:
        limit = desk.REASON_MAX
        raise Invalid("reason", f"Write a reason of at most {limit} characters: it stands in the audit log.")
    return reason


def history(visit: Visit) -> Response[str]:
    """All that happened to an account, newest first."""
    account_id = visit.path["account_id"]
    shown = visit.query.get("cursor")
    before = read_place(shown) if shown else None
    wallet = settled_wallet(visit.runtime, account_id, visit.now)
    with reading(visit.runtime.db) as session:
        row = session.get(AccountRow, account_id)
        entries, has_more = timeline(session, wallet, before, ROWS)
    return visit.page(
        "desk_timeline.html",
        account=row,
        entries=entries,
        older=cursor_of(entries[-1].place) if has_more else None,
        is_newest=before is None,
    )


async def pdf(visit: Visit, renderer: Renderer) -> Response[Any]:
    """A document as the customer got it."""
    name = visit.path["file"]
    if not name.endswith(".pdf"):
        raise NotFound("receipt")
    row, content = await pdf_of(visit.runtime, renderer, visit.path["account_id"], name.removesuffix(".pdf"))
    headers = {"content-disposition": f'attachment; filename="{row.number}.pdf"'}
    return Response(content, media_type="application/pdf", headers=headers)
