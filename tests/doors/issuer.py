"""An OIDC issuer with real keys that serves its key set over HTTP, and what a forger would make of it."""

import base64
import json
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.stores.loopback import Answer, Loopback

AUDIENCE = "wallet"
_RSA = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
_EC = ec.generate_private_key(ec.SECP256R1())
STRANGER = rsa.generate_private_key(public_exponent=65_537, key_size=2_048)
"""A key that is in nobody's set."""


class Issuer(Loopback):
    """Signs with an RSA key `r1` and an EC key `e1`; `more` are further members of its key set."""

    def __init__(self) -> None:
        super().__init__()
        self.rsa, self.ec = _RSA, _EC
        self.more: list[dict[str, Any]] = []
        self.answers: Answer | None = None

    def answer(self, method: str, path: str, query: str, headers: Any, body: bytes) -> Answer:
        return self.answers or (200, {"keys": [self.jwk("r1"), self.jwk("e1"), *self.more]})

    def jwk(self, kid: str) -> dict[str, Any]:
        made: dict[str, Any]
        if kid.startswith("r"):
            made = RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True)
        else:
            made = ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True)
        return made | {"kid": kid, "use": "sig"}

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PURSER_OIDC_ISSUER": self.base_url,
            "PURSER_OIDC_AUDIENCE": AUDIENCE,
            "PURSER_OIDC_JWKS_URL": f"{self.base_url}/jwks.json",
        }

    def claims(self, subject: str = "mira", **more: object) -> dict[str, object]:
        """What an access token says; a claim of `None` is left out."""
        now = int(time.time())
        made = {"iss": self.base_url, "sub": subject, "aud": AUDIENCE, "iat": now, "nbf": now, "exp": now + 600}
        return {name: value for name, value in (made | more).items() if value is not None}

    def token(self, subject: str = "mira", **more: object) -> str:
        return self.sign(self.claims(subject, **more))

    def sign(self, claims: dict[str, object], algorithm: str = "RS256", **headers: object) -> str:
        key = self.ec if algorithm.startswith("ES") else self.rsa
        shown = {"kid": "e1" if algorithm.startswith("ES") else "r1"} | headers
        return jwt.encode(claims, key, algorithm=algorithm, headers=shown)

    def sign_text(self, header: str, claims: str) -> str:
        """A token whose two texts are exactly these, with a signature that is right."""
        signed = f"{part(header)}.{part(claims)}"
        signature = jwt.get_algorithm_by_name("RS256").sign(signed.encode(), self.rsa)
        return f"{signed}.{part(signature)}"


def part(text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def text_of(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))
