"""The app stores' adapters, made from their settings."""

from pathlib import Path

from api.environ import SettingsError
from api.provider_settings import AppleSettings, GoogleSettings
from psp.apple import Apple, AppleKey
from psp.google import Google
from psp.google_api import PlayApi
from psp.google_push import PushKeys


def apple_of(settings: AppleSettings) -> Apple:
    """The App Store of one app; `SettingsError` for a certificate or a key that can't be used."""
    key = None
    if settings.issuer_id and settings.key_id and settings.private_key:
        key = AppleKey(settings.issuer_id, settings.key_id, settings.private_key)
    roots = [path.read_bytes() for path in settings.root_certificates]
    try:
        return Apple(settings.bundle_id, settings.app_apple_id, settings.environment, roots, key, settings.api_base)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"PURSER_APPLE_ROOT_CERTIFICATES or _PRIVATE_KEY can't be read: {error}") from error


def google_of(settings: GoogleSettings) -> Google:
    """Google Play of one package; `SettingsError` for a service account that can't be used."""
    keys = PushKeys(settings.jwks_url)
    api = _api_of(settings, settings.service_account) if settings.service_account is not None else None
    return Google(settings.package_name, settings.push_audience, settings.push_email, keys, api)


def _api_of(settings: GoogleSettings, account: Path) -> PlayApi:
    try:
        return PlayApi(settings.package_name, account, settings.api_base)
    except (ValueError, KeyError) as error:
        raise SettingsError("PURSER_GOOGLE_SERVICE_ACCOUNT is no service account's key.") from error
