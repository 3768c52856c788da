"""Apple's signed data: a chain of certificates up to Apple's root, our app, and the one environment we are in.

The library takes anything, unsigned, as Xcode's or a local test's; here there are two environments and no others.
Without root certificates of the operator's the root is Apple Root CA - G3: every chain ends in its root, so it is
taken from there and believed only if it is the one whose fingerprint stands here.
"""

import hashlib
from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeVar

import jwt
from appstoreserverlibrary.models.Environment import Environment
from appstoreserverlibrary.models.JWSRenewalInfoDecodedPayload import JWSRenewalInfoDecodedPayload
from appstoreserverlibrary.models.JWSTransactionDecodedPayload import JWSTransactionDecodedPayload
from appstoreserverlibrary.models.ResponseBodyV2DecodedPayload import ResponseBodyV2DecodedPayload
from appstoreserverlibrary.signed_data_verifier import (
    SignedDataVerifier,
    VerificationException,
    VerificationStatus,
)
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from engine.rules.errors import Unavailable
from psp.own_time import OwnTime, TookTooLong

EnvironmentName = Literal["Production", "Sandbox"]
ENVIRONMENTS = {"Production": Environment.PRODUCTION, "Sandbox": Environment.SANDBOX}
APPLE_ROOT_G3 = "63343abfb89a6a03ebb57e9b3f5fa7be7c4f5c756f3017b3a8c488c3653e9179"
"""SHA-256 of Apple Root CA - G3 (apple.com/certificateauthority), which signs the App Store's chain until 2039."""

ONLINE_SECONDS = 4.0
"""How long Apple may take to say whether its certificates still hold; the library would wait a minute for it."""

ONLINE_AT_ONCE = 4

FUTURE = timedelta(seconds=60)
"""How far ahead of us Apple's clock may be (SPEC §4). Nothing bounds the past: Apple sends the same bytes for days."""

T = TypeVar("T")


class NotGenuine(ValueError):
    """Bytes that Apple did not sign for this app and environment: why."""


class SignedData:
    """Verifies what one app receives. `roots` are DER or PEM; none means Apple's own, whose certificates are then
    asked for at Apple whenever something new arrives."""

    def __init__(
        self,
        bundle_id: str,
        app_apple_id: int,
        environment: EnvironmentName,
        roots: Sequence[bytes] = (),
        pinned_root: str = APPLE_ROOT_G3,
        online_seconds: float = ONLINE_SECONDS,
    ) -> None:
        """Raises `ValueError` for any other environment and for a root that is no certificate."""
        if environment not in ENVIRONMENTS:
            raise ValueError("Apple's environment is Production or Sandbox.")
        self._app = ENVIRONMENTS[environment], bundle_id, app_apple_id
        self._roots = [_der(root) for root in roots]
        self._pinned = pinned_root
        self._verifiers: dict[bool, SignedDataVerifier] = {}
        self._online = OwnTime(online_seconds, ONLINE_AT_ONCE)

    def notification(self, signed: str, *, is_new: bool = False) -> ResponseBodyV2DecodedPayload:
        """A notification's payload. `is_new` asks Apple whether its certificates were revoked; what was stored
        before needs them valid at the time it was signed. Raises `NotGenuine`, or `Unavailable` to come again."""
        return self._verified(signed, is_new, lambda verifier: verifier.verify_and_decode_notification(signed))

    def transaction(self, signed: str, *, is_new: bool = False) -> JWSTransactionDecodedPayload:
        """A transaction's payload, under the same terms."""
        return self._verified(signed, is_new, lambda verifier: verifier.verify_and_decode_signed_transaction(signed))

    def renewal_info(self, signed: str) -> JWSRenewalInfoDecodedPayload:
        """What a subscription will do next, valid at the time it was signed."""
        return self._verified(signed, False, lambda verifier: verifier.verify_and_decode_renewal_info(signed))

    def _verified(self, signed: str, is_new: bool, decode: Callable[[SignedDataVerifier], T]) -> T:
        roots = self._roots or [_pinned_root(signed, self._pinned)]
        asks_online = is_new and not self._roots
        verifier = self._verifiers.get(asks_online)
        if verifier is None:  # there is one set of roots, so one verifier that asks Apple and remembers, and one not
            verifier = self._verifiers[asks_online] = SignedDataVerifier(roots, asks_online, *self._app)
        try:
            return self._online.run(lambda: decode(verifier)) if asks_online else decode(verifier)
        except TookTooLong as error:
            raise Unavailable("Apple does not say whether its certificates hold; send it again.") from error
        except VerificationException as error:
            if error.status == VerificationStatus.RETRYABLE_VERIFICATION_FAILURE:
                raise Unavailable("Apple can't be asked about its certificates now; send it again.") from error
            raise NotGenuine(f"This is not signed by Apple for this app ({error.status.name}).") from error
        except Exception as error:
            # Signed, but of a shape the library stumbles over, in ways it does not name.
            raise NotGenuine(f"This has not the shape of Apple's signed data ({type(error).__name__}).") from error


def check_not_future(signed_date: int | None, now: datetime) -> None:
    """Raise `NotGenuine` for data without a date, or signed in a time that is yet to come."""
    if signed_date is None or signed_date > (now + FUTURE).timestamp() * 1000:
        raise NotGenuine("The date of the signature is missing or in the future.")


def _pinned_root(signed: str, fingerprint: str) -> bytes:
    """The root at the end of the chain in these signed data, if it is the one we trust."""
    try:
        chain = jwt.get_unverified_header(signed).get("x5c")
        root = b64decode(chain[2], validate=True) if isinstance(chain, list) and len(chain) == 3 else b""
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise NotGenuine("This is not signed data.") from error
    if hashlib.sha256(root).hexdigest() != fingerprint:
        raise NotGenuine("The chain does not end in Apple's root certificate.")
    return root


def _der(certificate: bytes) -> bytes:
    if certificate.lstrip().startswith(b"-----BEGIN"):
        return x509.load_pem_x509_certificate(certificate).public_bytes(Encoding.DER)
    return x509.load_der_x509_certificate(certificate).public_bytes(Encoding.DER)
