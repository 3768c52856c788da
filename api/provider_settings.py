"""What the environment says of each payment provider: keys, webhook secrets, and where its API is.

A provider with none of its settings is off; one with some of them missing is refused, and so is a live key that
would be sent to a loopback address.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from api.environ import Reader, SettingsError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
OFFICIAL_HOSTS = {
    "STRIPE": frozenset({"api.stripe.com"}),
    "PADDLE": frozenset({"api.paddle.com", "sandbox-api.paddle.com"}),
    "APPLE": frozenset(
        {
            "api.storekit.apple.com",
            "api.storekit-sandbox.apple.com",
            "api.storekit.itunes.apple.com",
            "api.storekit-sandbox.itunes.apple.com",
        }
    ),
    "GOOGLE": frozenset({"androidpublisher.googleapis.com"}),
}
_APPLE_ENVIRONMENTS: dict[str, Literal["Production", "Sandbox"]] = {"Production": "Production", "Sandbox": "Sandbox"}
_LIVE_KEY = re.compile(r"(sk|rk|pk)_live_|pdl_live_")


@dataclass(frozen=True, slots=True)
class StripeSettings:
    secret_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    api_base: str | None


@dataclass(frozen=True, slots=True)
class PaddleSettings:
    api_key: str = field(repr=False)
    webhook_secrets: tuple[str, ...] = field(repr=False)
    api_base: str | None


@dataclass(frozen=True, slots=True)
class AppleSettings:
    """`issuer_id`, `key_id` and `private_key` are there together or not at all: without them Apple is only heard."""

    bundle_id: str
    app_apple_id: int
    environment: Literal["Production", "Sandbox"]
    issuer_id: str | None
    key_id: str | None
    private_key: str | None = field(repr=False)
    root_certificates: tuple[Path, ...]
    api_base: str | None


@dataclass(frozen=True, slots=True)
class GoogleSettings:
    """Without `service_account` Google is only heard, not called."""

    package_name: str
    push_email: str
    push_audience: str
    service_account: Path | None
    jwks_url: str | None
    api_base: str | None


@dataclass(frozen=True, slots=True)
class MoonPaySettings:
    publishable_key: str
    secret_key: str = field(repr=False)
    webhook_key: str = field(repr=False)
    wallet_address: str


def read_stripe(read: Reader) -> StripeSettings | None:
    """Stripe's settings, or `None` when it is off."""
    found = read.group(("STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRETS"), ("STRIPE_API_BASE",))
    if found is None:
        return None
    key = found["STRIPE_SECRET_KEY"]
    is_live = _LIVE_KEY.match(key) is not None
    return StripeSettings(key, read.parts("STRIPE_WEBHOOK_SECRETS"), _api_base(read, "STRIPE", is_live))


def read_paddle(read: Reader) -> PaddleSettings | None:
    """Paddle's settings, or `None` when it is off."""
    found = read.group(("PADDLE_API_KEY", "PADDLE_WEBHOOK_SECRETS"), ("PADDLE_API_BASE",))
    if found is None:
        return None
    key = found["PADDLE_API_KEY"]
    is_live = _LIVE_KEY.match(key) is not None
    return PaddleSettings(key, read.parts("PADDLE_WEBHOOK_SECRETS"), _api_base(read, "PADDLE", is_live))


def read_apple(read: Reader) -> AppleSettings | None:
    """Apple's settings, or `None` when it is off."""
    calling = ("APPLE_ISSUER_ID", "APPLE_KEY_ID", "APPLE_PRIVATE_KEY")
    hearing = ("APPLE_BUNDLE_ID", "APPLE_APP_APPLE_ID", "APPLE_ENVIRONMENT")
    found = read.group(hearing, (*calling, "APPLE_ROOT_CERTIFICATES", "APPLE_API_BASE"))
    if found is None:
        return None
    read.group(calling)
    environment = _APPLE_ENVIRONMENTS.get(found["APPLE_ENVIRONMENT"])
    if environment is None:
        raise SettingsError("PURSER_APPLE_ENVIRONMENT is Production or Sandbox.")
    if not re.fullmatch(r"[0-9]{1,18}", found["APPLE_APP_APPLE_ID"], re.ASCII):
        raise SettingsError("PURSER_APPLE_APP_APPLE_ID is the app's number.")
    return AppleSettings(
        bundle_id=found["APPLE_BUNDLE_ID"],
        app_apple_id=int(found["APPLE_APP_APPLE_ID"]),
        environment=environment,
        issuer_id=found.get("APPLE_ISSUER_ID"),
        key_id=found.get("APPLE_KEY_ID"),
        private_key=found.get("APPLE_PRIVATE_KEY"),
        root_certificates=tuple(_file("APPLE_ROOT_CERTIFICATES", p) for p in read.parts("APPLE_ROOT_CERTIFICATES")),
        api_base=_api_base(read, "APPLE", environment == "Production"),
    )


def read_google(read: Reader) -> GoogleSettings | None:
    """Google's settings, or `None` when it is off."""
    hearing = ("GOOGLE_PACKAGE_NAME", "GOOGLE_PUSH_EMAIL", "GOOGLE_PUSH_AUDIENCE")
    found = read.group(hearing, ("GOOGLE_SERVICE_ACCOUNT", "GOOGLE_JWKS_URL", "GOOGLE_API_BASE"))
    if found is None:
        return None
    account = found.get("GOOGLE_SERVICE_ACCOUNT")
    return GoogleSettings(
        package_name=found["GOOGLE_PACKAGE_NAME"],
        push_email=found["GOOGLE_PUSH_EMAIL"],
        push_audience=found["GOOGLE_PUSH_AUDIENCE"],
        service_account=_file("GOOGLE_SERVICE_ACCOUNT", account) if account else None,
        jwks_url=found.get("GOOGLE_JWKS_URL"),
        api_base=_api_base(read, "GOOGLE", is_live=False),
    )


def read_moonpay(read: Reader) -> MoonPaySettings | None:
    """MoonPay's settings, or `None` when it is off."""
    names = ("PUBLISHABLE_KEY", "SECRET_KEY", "WEBHOOK_KEY", "WALLET_ADDRESS")
    found = read.group([f"MOONPAY_{name}" for name in names])
    if found is None:
        return None
    return MoonPaySettings(*(found[f"MOONPAY_{name}"] for name in names))


def _api_base(read: Reader, provider: str, is_live: bool) -> str | None:
    """The provider's official host, or loopback for a stand-in, which no live key may be sent to."""
    name = f"{provider}_API_BASE"
    text = read.text(name)
    if text is None:
        return None
    parts = urlsplit(text)
    if parts.hostname in LOOPBACK and parts.scheme in ("http", "https"):
        if is_live:
            raise SettingsError(f"PURSER_{name} is a loopback address, which live keys are never sent to.")
    elif parts.scheme != "https" or parts.netloc not in OFFICIAL_HOSTS[provider]:
        known = ", ".join(sorted(OFFICIAL_HOSTS[provider]))
        raise SettingsError(f"PURSER_{name} must be https on the provider's own host ({known}), or loopback.")
    return text.rstrip("/")


def _file(name: str, path: str) -> Path:
    if not Path(path).is_file():
        raise SettingsError(f"PURSER_{name}: there is no file {path!r}.")
    return Path(path)
