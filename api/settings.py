"""The settings of a server, read once from the environment (SPEC §13).

A setting that is missing or contradicts another is refused by name before anything starts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from api.environ import Reader, SettingsError
from api.oidc import OidcSettings
from api.provider_settings import (
    LOOPBACK,
    AppleSettings,
    GoogleSettings,
    MoonPaySettings,
    PaddleSettings,
    StripeSettings,
    read_apple,
    read_google,
    read_moonpay,
    read_paddle,
    read_stripe,
)
from api.rates import RateSettings
from engine.rules.return_urls import origin_of

__all__ = ["Settings", "SettingsError", "read_settings"]

SECRET_KEY_CHARS_MIN = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything the environment says. `base_url` has no slash at its end; its origin is a return origin too."""

    database_url: str = field(repr=False)
    data_dir: Path
    catalog: str
    base_url: str
    secret_keys: tuple[str, ...] = field(repr=False)
    host: str
    port: int
    return_origins: tuple[str, ...]
    smtp_url: str | None = field(repr=False)
    allows_webhooks_to_loopback: bool
    oidc: OidcSettings | None
    stripe: StripeSettings | None
    paddle: PaddleSettings | None
    apple: AppleSettings | None
    google: GoogleSettings | None
    moonpay: MoonPaySettings | None
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = None
    rates: RateSettings = field(default_factory=RateSettings)

    @property
    def is_https(self) -> bool:
        """Whether browsers reach us over TLS, so that cookies may demand it."""
        return self.base_url.startswith("https://")


def read_settings(environ: Mapping[str, str]) -> Settings:
    """The settings in `PURSER_*`; `SettingsError` for the first that cannot be used."""
    read = Reader(environ)
    host = read.text("HOST") or "127.0.0.1"
    port = _port(read.text("PORT") or "8080")
    data_dir = Path(read.text("DATA_DIR") or "purser-data")
    base_url = _base_url(read.text("BASE_URL") or f"http://{f'[{host}]' if ':' in host else host}:{port}")
    origins = [_origin("PURSER_ALLOWED_RETURN_ORIGINS", o) for o in read.parts("ALLOWED_RETURN_ORIGINS")]
    return Settings(
        database_url=read.text("DATABASE_URL") or f"sqlite:///{data_dir / 'purser.sqlite3'}",
        data_dir=data_dir,
        catalog=read.text("CATALOG") or "alphio",
        base_url=base_url,
        secret_keys=_secret_keys(read.parts("SECRET_KEY")),
        host=host,
        port=port,
        return_origins=tuple(dict.fromkeys([origin_of(base_url), *origins])),
        smtp_url=read.text("SMTP_URL"),
        allows_webhooks_to_loopback=_switch("WEBHOOKS_TO_LOOPBACK", read),
        oidc=_oidc(read),
        stripe=read_stripe(read),
        paddle=read_paddle(read),
        apple=read_apple(read),
        google=read_google(read),
        moonpay=read_moonpay(read),
        metrics_host=read.text("METRICS_HOST") or "127.0.0.1",
        metrics_port=_metrics_port(read.text("METRICS_PORT")),
        rates=_rates(read),
    )


def _switch(name: str, read: Reader) -> bool:
    text = read.text(name) or "0"
    if text not in ("0", "1"):
        raise SettingsError(f"PURSER_{name} is 1 or 0, not {text!r}.")
    return text == "1"


def _port(text: str, name: str = "PURSER_PORT") -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) or not 0 <= int(text) <= 65_535:
        raise SettingsError(f"{name} is not a port: {text!r}.")
    return int(text)


def _metrics_port(text: str | None) -> int | None:
    """Where metrics are served, or `None`: nobody counts then."""
    port = None if text is None else _port(text, "PURSER_METRICS_PORT")
    if port == 0:
        raise SettingsError("PURSER_METRICS_PORT is the port that a scraper knows: 1 to 65535.")
    return port


def _base_url(text: str) -> str:
    if text.rstrip("/") != _origin("PURSER_BASE_URL", text):
        raise SettingsError("PURSER_BASE_URL is a scheme and a host only, in lower case, without a path.")
    return text.rstrip("/")


def _origin(name: str, text: str) -> str:
    """An origin such as `https://app.example`; plain http only on loopback."""
    try:
        parts = urlsplit(text)
        origin = origin_of(text)
    except ValueError as error:
        raise SettingsError(f"{name}: {text!r} is not an http(s) URL.") from error
    if parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise SettingsError(f"{name}: {text!r} must be an origin: scheme, host and port only.")
    if parts.scheme == "http" and parts.hostname not in LOOPBACK and name == "PURSER_ALLOWED_RETURN_ORIGINS":
        raise SettingsError(f"{name}: {text!r} must be https.")
    return origin


def _secret_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    if not keys:
        raise SettingsError("PURSER_SECRET_KEY is missing: at least 32 random characters, e.g. `openssl rand -hex 32`.")
    if any(len(key) < SECRET_KEY_CHARS_MIN for key in keys):
        raise SettingsError(f"PURSER_SECRET_KEY: each key has at least {SECRET_KEY_CHARS_MIN} characters.")
    return keys


def _oidc(read: Reader) -> OidcSettings | None:
    found = read.group(("OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_JWKS_URL"), ("OIDC_CLIENT_ID", "OIDC_CLIENT_SECRET"))
    if found is None:
        return None
    client_id, client_secret = found.get("OIDC_CLIENT_ID"), found.get("OIDC_CLIENT_SECRET")
    if client_secret is not None and client_id is None:
        raise SettingsError("PURSER_OIDC_CLIENT_ID missing: needed together with PURSER_OIDC_CLIENT_SECRET.")
    for name in ("OIDC_ISSUER", "OIDC_JWKS_URL"):
        parts = urlsplit(found[name])
        is_safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        if not is_safe or not parts.hostname or "@" in parts.netloc or parts.fragment:
            raise SettingsError(f"PURSER_{name} is an https URL: whoever can change what it says signs anybody in.")
    issuer, audience, jwks_url = (found[name] for name in ("OIDC_ISSUER", "OIDC_AUDIENCE", "OIDC_JWKS_URL"))
    return OidcSettings(issuer, audience, jwks_url, client_id, client_secret)


def _rates(read: Reader) -> RateSettings:
    """Requests a minute: of an account's key or a session, of a service key, and tries with unknown keys."""
    default = RateSettings()
    return RateSettings(
        accounts=_quota(read, "RATE_LIMIT", default.accounts),
        services=_quota(read, "RATE_LIMIT_SERVICE", default.services),
        failures=_quota(read, "RATE_LIMIT_FAILURES", default.failures),
        proxies=_number("TRUSTED_PROXIES", read.text("TRUSTED_PROXIES") or "0", 9),
    )


def _quota(read: Reader, name: str, default: int | None) -> int | None:
    """A quota a minute; 0 is no limit."""
    text = read.text(name)
    return default if text is None else _number(name, text, 1_000_000) or None


def _number(name: str, text: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,7}", text, re.ASCII) or int(text) > most:
        raise SettingsError(f"PURSER_{name} is a number from 0 to {most}, not {text!r}.")
    return int(text)
