"""A certificate chain like Apple's, of our own making, and the signed data that hang on it."""

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

LEAF_MARK = "1.2.840.113635.100.6.11.1"
INTERMEDIATE_MARK = "1.2.840.113635.100.6.2.1"
ASN1_NULL = b"\x05\x00"
BEGINS, ENDS = datetime(2024, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)


class Chain:
    """Root, intermediate and leaf; what is wrong with a bad one is said when it is made."""

    def __init__(
        self,
        *,
        leaf_mark: str | None = LEAF_MARK,
        intermediate_mark: str | None = INTERMEDIATE_MARK,
        leaf_ends: datetime = ENDS,
        is_intermediate_ca: bool = True,
    ) -> None:
        self.root_key, self.middle_key, self.leaf_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(3))
        self.root = _certificate("Root", self.root_key, "Root", self.root_key, is_ca=True)
        self.middle = _certificate(
            "Middle",
            self.middle_key,
            "Root",
            self.root_key,
            is_ca=is_intermediate_ca,
            path_length=0,
            mark=intermediate_mark,
        )
        self.leaf = _certificate(
            "Leaf", self.leaf_key, "Middle", self.middle_key, is_ca=False, mark=leaf_mark, ends=leaf_ends
        )

    @property
    def root_der(self) -> bytes:
        return der(self.root)

    @property
    def root_pem(self) -> bytes:
        return self.root.public_bytes(serialization.Encoding.PEM)

    @property
    def x5c(self) -> list[str]:
        return [b64encode(der(each)).decode() for each in (self.leaf, self.middle, self.root)]

    def sign(
        self,
        payload: Any,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        x5c: Sequence[str] | None = None,
        algorithm: str = "ES256",
    ) -> str:
        """The payload as Apple would sign it, or with another key, chain or algorithm."""
        headers = {"x5c": list(self.x5c if x5c is None else x5c)}
        if algorithm == "HS256":
            return jwt.encode(payload, "x" * 32, algorithm, headers=headers)
        if algorithm == "none":
            return jwt.encode(payload, None, algorithm, headers=headers)
        return jwt.encode(payload, key or self.leaf_key, algorithm, headers=headers)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Purser Test {name}")])


def _certificate(
    name: str,
    key: ec.EllipticCurvePrivateKey,
    issuer: str,
    issuer_key: ec.EllipticCurvePrivateKey,
    *,
    is_ca: bool,
    path_length: int | None = None,
    mark: str | None = None,
    ends: datetime = ENDS,
) -> x509.Certificate:
    signing = x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .issuer_name(_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGINS)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(is_ca, path_length if is_ca else None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .add_extension(signing, critical=True)
    )
    if mark is not None:
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(mark), ASN1_NULL)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())
