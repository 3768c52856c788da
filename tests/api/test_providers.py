"""The rails a server opens are those whose keys are set; keys that contradict each other open none."""

import pytest

from api.server import providers_of
from api.settings import SettingsError, read_settings

BASE = {"PURSER_SECRET_KEY": "a secret of the tests and longer than 32"}
PADDLE = {"PURSER_PADDLE_API_KEY": "pdl_sdbx_apikey_1", "PURSER_PADDLE_WEBHOOK_SECRETS": "pdl_ntfset_1,pdl_ntfset_2"}
MOONPAY = {
    "PURSER_MOONPAY_PUBLISHABLE_KEY": "pk_test_1",
    "PURSER_MOONPAY_SECRET_KEY": "sk_test_1",
    "PURSER_MOONPAY_WEBHOOK_KEY": "wk_test_1",
    "PURSER_MOONPAY_WALLET_ADDRESS": "0xc216eD2D6c295579718dbd4a797845CdA70B3C36",
}


@pytest.mark.parametrize(
    ("settings", "names"),
    [({}, []), (PADDLE, ["paddle"]), (MOONPAY, ["moonpay"]), (MOONPAY | PADDLE, ["paddle", "moonpay"])],
)
def test_a_rail_is_open_where_its_keys_are_set(settings: dict[str, str], names: list[str]) -> None:
    rails = providers_of(read_settings(BASE | settings))
    assert list(rails) == names and [rail.name for rail in rails.values()] == names
    assert not any(rail.is_live for rail in rails.values())


def test_live_keys_make_live_rails() -> None:
    paddle = PADDLE | {"PURSER_PADDLE_API_KEY": "pdl_live_apikey_1"}
    moonpay = MOONPAY | {"PURSER_MOONPAY_PUBLISHABLE_KEY": "pk_live_1", "PURSER_MOONPAY_SECRET_KEY": "sk_live_1"}
    assert all(rail.is_live for rail in providers_of(read_settings(BASE | paddle | moonpay)).values())


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (PADDLE | {"PURSER_PADDLE_API_BASE": "https://api.paddle.com"}, "The Paddle key is of one mode"),
        (MOONPAY | {"PURSER_MOONPAY_SECRET_KEY": "sk_live_1"}, "MoonPay's keys is a live key"),
    ],
)
def test_keys_that_contradict_each_other_are_the_operators_to_mend(settings: dict[str, str], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        providers_of(read_settings(BASE | settings))
