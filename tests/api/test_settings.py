"""Settings: read from the environment or from files, refused by name when they cannot be used."""

from pathlib import Path

import pytest

from api.server import check_webhooks
from api.settings import SettingsError, read_settings

SECRET = "s" * 32
BASE = {"PURSER_SECRET_KEY": SECRET}
STRIPE = {"PURSER_STRIPE_SECRET_KEY": "sk_test_1", "PURSER_STRIPE_WEBHOOK_SECRETS": "whsec_1, whsec_2"}
PADDLE = {"PURSER_PADDLE_API_KEY": "pdl_sdbx_apikey_1", "PURSER_PADDLE_WEBHOOK_SECRETS": "pdl_ntfset_1"}
APPLE = {
    "PURSER_APPLE_BUNDLE_ID": "example.app",
    "PURSER_APPLE_APP_APPLE_ID": "123",
    "PURSER_APPLE_ENVIRONMENT": "Sandbox",
}
GOOGLE = {
    "PURSER_GOOGLE_PACKAGE_NAME": "example.app",
    "PURSER_GOOGLE_PUSH_EMAIL": "push@example.iam.gserviceaccount.com",
    "PURSER_GOOGLE_PUSH_AUDIENCE": "https://wallet.example/webhooks/google",
}
MOONPAY = {
    "PURSER_MOONPAY_PUBLISHABLE_KEY": "pk_test_1",
    "PURSER_MOONPAY_SECRET_KEY": "sk_test_1",
    "PURSER_MOONPAY_WEBHOOK_KEY": "wk_test_1",
    "PURSER_MOONPAY_WALLET_ADDRESS": "0x1",
}


def test_a_secret_key_is_all_that_is_needed() -> None:
    settings = read_settings(BASE)
    assert (settings.host, settings.port, settings.base_url) == ("127.0.0.1", 8080, "http://127.0.0.1:8080")
    assert settings.database_url == "sqlite:///purser-data/purser.sqlite3"
    assert (settings.catalog, settings.secret_keys) == ("alphio", (SECRET,))
    assert settings.return_origins == ("http://127.0.0.1:8080",)
    off = (settings.stripe, settings.paddle, settings.apple, settings.google, settings.moonpay, settings.oidc)
    assert off == (None,) * 6 and not settings.is_https


def test_everything_that_is_set_is_read() -> None:
    settings = read_settings(
        {
            "PURSER_SECRET_KEY": f"{SECRET},{'t' * 40}",
            "PURSER_DATABASE_URL": "postgresql://db/purser",
            "PURSER_CATALOG": "acn",
            "PURSER_BASE_URL": "https://wallet.example/",
            "PURSER_HOST": "::1",
            "PURSER_PORT": "9000",
            "PURSER_ALLOWED_RETURN_ORIGINS": "https://app.example, http://localhost:3000",
            "PURSER_SMTP_URL": "smtps://mail.example",
            "PURSER_OIDC_ISSUER": "https://issuer.example",
            "PURSER_OIDC_AUDIENCE": "client",
            "PURSER_OIDC_JWKS_URL": "https://issuer.example/jwks",
            **STRIPE,
            **PADDLE,
            **APPLE,
            **GOOGLE,
            **MOONPAY,
        }
    )
    assert settings.secret_keys == (SECRET, "t" * 40)
    assert settings.is_https and settings.base_url == "https://wallet.example"
    assert settings.return_origins == ("https://wallet.example", "https://app.example", "http://localhost:3000")
    assert (settings.host, settings.port, settings.smtp_url) == ("::1", 9_000, "smtps://mail.example")
    assert settings.stripe is not None and settings.stripe.webhook_secrets == ("whsec_1", "whsec_2")
    assert settings.paddle is not None and settings.paddle.api_key == "pdl_sdbx_apikey_1"
    assert settings.apple is not None and (settings.apple.app_apple_id, settings.apple.issuer_id) == (123, None)
    assert settings.google is not None and settings.google.service_account is None
    assert settings.moonpay is not None and settings.moonpay.wallet_address == "0x1"
    assert settings.oidc is not None and settings.oidc.audience == "client"
    for secret in (SECRET, "sk_test_1", "whsec_1", "pdl_sdbx_apikey_1", "wk_test_1", "postgresql:"):
        assert secret not in repr(settings)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(SECRET + "\n")
    (tmp_path / "stripe").write_text("sk_test_9\n")
    settings = read_settings(
        {
            "PURSER_SECRET_KEY_FILE": str(tmp_path / "key"),
            "PURSER_STRIPE_SECRET_KEY_FILE": str(tmp_path / "stripe"),
            "PURSER_STRIPE_WEBHOOK_SECRETS": "whsec_1",
        }
    )
    assert settings.secret_keys == (SECRET,)
    assert settings.stripe is not None and settings.stripe.secret_key == "sk_test_9"
    assert read_settings(BASE | {"PURSER_HOST_FILE": str(tmp_path / "key")}).host == "127.0.0.1"


LIVE_STRIPE = STRIPE | {"PURSER_STRIPE_SECRET_KEY": "sk_live_1"}
REFUSED = [
    ({"PURSER_SECRET_KEY": ""}, "PURSER_SECRET_KEY"),
    ({"PURSER_SECRET_KEY": "short"}, "32 characters"),
    ({"PURSER_SECRET_KEY": f"{SECRET},short"}, "32 characters"),
    ({"PURSER_SECRET_KEY_FILE": "/etc/hostname"}, "PURSER_SECRET_KEY_FILE"),
    ({"PURSER_SMTP_URL_FILE": "/nothing/here"}, "PURSER_SMTP_URL_FILE cannot be read"),
    ({"PURSER_PORT": "http"}, "PURSER_PORT"),
    ({"PURSER_PORT": "65536"}, "PURSER_PORT"),
    ({"PURSER_BASE_URL": "wallet.example"}, "PURSER_BASE_URL"),
    ({"PURSER_BASE_URL": "https://wallet.example/app"}, "PURSER_BASE_URL"),
    ({"PURSER_BASE_URL": "https://Wallet.example"}, "PURSER_BASE_URL"),
    ({"PURSER_ALLOWED_RETURN_ORIGINS": "https://app.example/x"}, "PURSER_ALLOWED_RETURN_ORIGINS"),
    ({"PURSER_ALLOWED_RETURN_ORIGINS": "http://app.example"}, "must be https"),
    ({"PURSER_ALLOWED_RETURN_ORIGINS": "https://u@app.example"}, "PURSER_ALLOWED_RETURN_ORIGINS"),
    ({"PURSER_OIDC_ISSUER": "https://issuer.example"}, "PURSER_OIDC_AUDIENCE, PURSER_OIDC_JWKS_URL missing"),
    ({"PURSER_STRIPE_SECRET_KEY": "sk_test_1"}, "PURSER_STRIPE_WEBHOOK_SECRETS missing"),
    ({"PURSER_STRIPE_API_BASE": "https://api.stripe.com"}, "PURSER_STRIPE_SECRET_KEY, PURSER_STRIPE_WEBHOOK_SECRETS"),
    (STRIPE | {"PURSER_STRIPE_API_BASE": "https://stripe.example"}, "api.stripe.com"),
    (STRIPE | {"PURSER_STRIPE_API_BASE": "http://api.stripe.com"}, "https"),
    (STRIPE | {"PURSER_STRIPE_API_BASE": "https://api.stripe.com@evil.example"}, "PURSER_STRIPE_API_BASE"),
    (STRIPE | {"PURSER_STRIPE_API_BASE": "https://user@api.stripe.com"}, "PURSER_STRIPE_API_BASE"),
    (LIVE_STRIPE | {"PURSER_STRIPE_API_BASE": "http://127.0.0.1:1"}, "live keys"),
    ({"PURSER_PADDLE_API_KEY": "x"}, "PURSER_PADDLE_WEBHOOK_SECRETS missing"),
    (
        PADDLE | {"PURSER_PADDLE_API_KEY": "pdl_live_apikey_1", "PURSER_PADDLE_API_BASE": "http://localhost:1"},
        "live keys",
    ),
    ({"PURSER_APPLE_BUNDLE_ID": "a"}, "PURSER_APPLE_APP_APPLE_ID, PURSER_APPLE_ENVIRONMENT missing"),
    (APPLE | {"PURSER_APPLE_ENVIRONMENT": "Xcode"}, "Production or Sandbox"),
    (APPLE | {"PURSER_APPLE_APP_APPLE_ID": "abc"}, "PURSER_APPLE_APP_APPLE_ID"),
    (APPLE | {"PURSER_APPLE_KEY_ID": "K"}, "PURSER_APPLE_ISSUER_ID, PURSER_APPLE_PRIVATE_KEY missing"),
    (APPLE | {"PURSER_APPLE_ROOT_CERTIFICATES": "/nothing/here"}, "PURSER_APPLE_ROOT_CERTIFICATES"),
    (
        APPLE | {"PURSER_APPLE_ENVIRONMENT": "Production", "PURSER_APPLE_API_BASE": "http://[::1]:1"},
        "live keys",
    ),
    (GOOGLE | {"PURSER_GOOGLE_PUSH_EMAIL": ""}, "PURSER_GOOGLE_PUSH_EMAIL missing"),
    (GOOGLE | {"PURSER_GOOGLE_SERVICE_ACCOUNT": "/nothing/here"}, "PURSER_GOOGLE_SERVICE_ACCOUNT"),
    (MOONPAY | {"PURSER_MOONPAY_WALLET_ADDRESS": " "}, "PURSER_MOONPAY_WALLET_ADDRESS missing"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_by_name(change: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message.replace(".", r"\.")) as refused:
        read_settings(BASE | change)
    assert "sk_live_1" not in str(refused.value)


def test_a_test_key_may_be_sent_to_a_stand_in_on_loopback() -> None:
    settings = read_settings(BASE | STRIPE | {"PURSER_STRIPE_API_BASE": "http://127.0.0.1:12111/"})
    assert settings.stripe is not None and settings.stripe.api_base == "http://127.0.0.1:12111"
    official = read_settings(BASE | LIVE_STRIPE | {"PURSER_STRIPE_API_BASE": "https://api.stripe.com"})
    assert official.stripe is not None and official.stripe.api_base == "https://api.stripe.com"


def test_only_a_demo_may_send_webhooks_to_its_own_machine() -> None:
    plain = {"PURSER_SECRET_KEY": "k" * 32}
    assert not read_settings(plain).allows_webhooks_to_loopback
    settings = read_settings(plain | {"PURSER_WEBHOOKS_TO_LOOPBACK": "1"})
    assert settings.allows_webhooks_to_loopback
    with pytest.raises(SettingsError, match="PURSER_WEBHOOKS_TO_LOOPBACK"):
        check_webhooks(settings)
    with pytest.raises(SettingsError, match="PURSER_WEBHOOKS_TO_LOOPBACK"):
        read_settings(plain | {"PURSER_WEBHOOKS_TO_LOOPBACK": "yes"})
