"""Purchases made in an app store: what the app posts, the token it gives the store, the customer's consent."""

from typing import Annotated, Any

from msgspec import Meta

from api.body import Body
from api.payments import Payment, payment
from api.scope import Answer, Call, Resource
from engine.flows import store_customers, stores
from engine.rules.errors import IdempotencyMismatch, Invalid, NotFound, Unavailable
from engine.store import documents
from engine.store.database import reading

Signed = Annotated[str, Meta(min_length=1, max_length=100_000)]
StoreId = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,200}\Z")]
Token = Annotated[str, Meta(pattern=r"\A[\x21-\x7e]{1,1000}\Z")]


class AppleBody(Body, frozen=True, kw_only=True):
    """A transaction as StoreKit signed it (`jwsRepresentation`)."""

    signed_transaction: Signed


class GoogleBody(Body, frozen=True, kw_only=True):
    """A purchase as Play Billing names it."""

    product_id: StoreId
    purchase_token: Token


class StoreToken(Body, frozen=True, kw_only=True):
    """What the app gives the store with each purchase: to Apple as `appAccountToken`, to Google as the other."""

    app_account_token: str
    obfuscated_account_id: str


class Consent(Body, frozen=True, kw_only=True):
    """Whether Apple may be told what share of a purchase was used when its refund is asked for."""

    consumption_consent: bool


def post_apple(call: Call[AppleBody]) -> Answer:
    """Credit a transaction of the App Store."""
    proof = {"signedTransaction": call.ask.signed_transaction}
    return _take(call, "apple", proof)


def post_google(call: Call[GoogleBody]) -> Answer:
    """Credit a purchase of Google Play; it is consumed afterwards."""
    proof = {"purchaseToken": call.ask.purchase_token, "productId": call.ask.product_id}
    return _take(call, "google", proof)


def _take(call: Call[Any], store: str, proof: dict[str, str]) -> Answer:
    """The purchase as the payments list shows it; a job may be due for it."""
    posted = stores.PostedPurchase(account_id=call.account_id, actor=call.actor, store=store, proof=proof, key=call.key)
    row, is_replay = stores.post_purchase(call.runtime, posted)
    call.runtime.wake_jobs()
    with reading(call.runtime.db) as session:
        pdfs = documents.receipt_ids(session, call.account_id, [row.purchase_id])
    shown = payment(call.runtime, row, pdfs.get(row.purchase_id), is_named="account_id" in call.path)
    return Answer(shown, is_replay=is_replay)


def get_store_token(call: Call[None]) -> Answer:
    """The account's token for the stores: the same for ever, and guessed by nobody."""
    token = store_customers.store_token(call.runtime, call.account_id)
    return Answer(StoreToken(app_account_token=token, obfuscated_account_id=token))


def get_consent(call: Call[None]) -> Answer:
    """The customer's consent."""
    return Answer(Consent(consumption_consent=store_customers.has_consented(call.runtime, call.account_id)))


def put_consent(call: Call[Consent]) -> Answer:
    """Give or withdraw the customer's consent."""
    given = store_customers.has_consented(call.runtime, call.account_id, call.ask.consumption_consent)
    return Answer(Consent(consumption_consent=given))


RESOURCES: tuple[Resource[Any], ...] = (
    Resource(
        method="POST",
        path="purchases/apple",
        may="buy",
        handler=post_apple,
        asks=AppleBody,
        answers=Payment,
        key="optional",
        refuses=(Invalid, NotFound, Unavailable, IdempotencyMismatch),
        summary="Credit an App Store transaction, once; another account's is not found.",
    ),
    Resource(
        method="POST",
        path="purchases/google",
        may="buy",
        handler=post_google,
        asks=GoogleBody,
        answers=Payment,
        key="optional",
        refuses=(Invalid, NotFound, Unavailable, IdempotencyMismatch),
        summary="Credit a Google Play purchase, once; another account's is not found.",
    ),
    Resource(
        method="GET",
        path="purchases/store-token",
        may="buy",
        handler=get_store_token,
        answers=StoreToken,
        refuses=(NotFound,),
        summary="What the app gives the stores to name the account.",
    ),
    Resource(
        method="GET",
        path="purchases/store-consent",
        may="settings.read",
        handler=get_consent,
        answers=Consent,
        refuses=(NotFound,),
        summary="Whether Apple may be told what was used of a purchase.",
    ),
    Resource(
        method="PUT",
        path="purchases/store-consent",
        may="settings.write",
        handler=put_consent,
        asks=Consent,
        answers=Consent,
        refuses=(NotFound,),
        summary="Give or withdraw consent to tell Apple what was used of a purchase.",
    ),
)
