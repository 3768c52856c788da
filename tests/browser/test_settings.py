"""Settings, billing and plans in a browser: forms without a script, errors beside their field, who may do what."""

import re

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.browser.support import Customer, Demo, Window, press


@pytest.fixture
def plain(chromium: Browser, demo: Demo, customer: Customer) -> Window:
    """A window without scripts, signed in."""
    window = Window(chromium, demo, java_script_enabled=False)
    window.page.goto(customer.link("/account/settings"))
    return window


def account(customer: Customer, path: str) -> dict[str, object]:
    found: dict[str, object] = customer.demo.call("GET", f"/v1/accounts/{customer.account_id}/{path}")
    return found


def test_limits_are_set_and_a_wrong_one_is_explained_at_its_field(plain: Window, customer: Customer) -> None:
    page = plain.page
    card = page.locator("#limits")
    card.get_by_label("Limit for a day (UTC)").fill("50,000")
    card.get_by_role("button", name="Save limits").click()
    expect(card.get_by_role("status")).to_contain_text("Your limits were saved.")
    assert account(customer, "limits")["dailySpendLimitCredits"] == "50000"
    card.get_by_label("Limit for one call").fill("many")
    card.get_by_role("button", name="Save limits").click()
    field = card.get_by_label("Limit for one call")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("many")
    expect(card.locator("#limits-perCall-problem")).to_have_text("Type a whole number, such as 500.")
    assert account(customer, "limits")["perCallLimitCredits"] is None
    plain.close()
    assert [c for c in plain.complaints if "status of 400" not in c] == []


def test_alerts_and_mails_are_chosen(plain: Window, customer: Customer) -> None:
    card = plain.page.locator("#alerts")
    card.get_by_label("Tell me when the balance falls below").fill("200")
    card.get_by_label("What was spent, each week").check()
    card.get_by_label("Money was sent back").uncheck()
    expect(card.get_by_label("A payment arrived")).to_be_disabled()
    card.get_by_role("button", name="Save alerts").click()
    expect(card.get_by_role("status")).to_have_text("Your alerts were saved.")
    now_is = account(customer, "alerts")
    wanted = now_is["emailNotifications"]
    assert isinstance(wanted, dict)
    assert now_is["lowBalanceThresholdCredits"] == "200"
    assert (wanted["weeklySummary"], wanted["refunds"], wanted["paymentConfirmed"]) == (True, False, True)
    plain.close()
    plain.check_clean()


def test_a_coupon_is_redeemed_once(plain: Window, customer: Customer) -> None:
    card = plain.page.locator("#coupon")
    card.get_by_label("Code").fill(" welcome100 ")
    card.get_by_role("button", name="Redeem").click()
    expect(card.get_by_text("100 credits were added.")).to_be_visible()
    assert customer.balance() == 100
    card.get_by_label("Code").fill("WELCOME100")
    card.get_by_role("button", name="Redeem").click()
    expect(card.get_by_text("This account redeemed the coupon before.")).to_be_visible()
    assert customer.balance() == 100
    plain.close()
    assert [c for c in plain.complaints if "status of 409" not in c] == []


def test_a_key_is_shown_once_renamed_and_revoked(plain: Window, customer: Customer, demo: Demo) -> None:
    page = plain.page
    card = page.locator("#keys")
    card.locator("#key-name").fill("build machine")
    card.locator("#key-daily").fill("500")
    card.get_by_role("button", name="Make a key").click()
    key = card.locator(".secret").inner_text()
    assert key.startswith("alp_sk_")
    answer = httpx.get(f"{demo.base_url}/v1/billing/balance", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200
    page.goto("/account/settings")
    expect(card.locator(".secret")).to_have_count(0)
    assert key not in page.content()
    expect(card.get_by_text("500 credits a day")).to_be_visible()
    card.locator("summary", has_text="Change").click()
    card.get_by_label("Name").first.fill("build farm")
    card.get_by_role("button", name="Save key").click()
    expect(card.get_by_text("build farm").first).to_be_visible()
    card.locator("summary", has_text="Revoke").click()
    card.get_by_role("button", name="Revoke build farm").click()
    expect(card.get_by_text("There are no keys yet.")).to_be_visible()
    answer = httpx.get(f"{demo.base_url}/v1/billing/balance", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 401
    plain.close()
    plain.check_clean()


def test_details_are_checked_as_receipts_need_them(plain: Window, customer: Customer) -> None:
    card = plain.page.locator("#profile")
    card.get_by_label("Company").fill("Example <b>GmbH</b>")
    card.get_by_label("Country of the address").select_option("DE")
    card.get_by_label("Tax number").fill("DE12")
    card.get_by_role("button", name="Save details").click()
    expect(card.locator("#profile-taxId-problem")).to_contain_text("no tax number of DE")
    expect(card.get_by_label("Company")).to_have_value("Example <b>GmbH</b>")
    card.get_by_label("Tax number").fill("DE123456789")
    card.get_by_label("Language").select_option("de")
    card.get_by_role("button", name="Save details").click()
    expect(plain.page.locator("h1")).to_have_text("Einstellungen")
    saved = account(customer, "profile")
    assert (saved["company"], saved["taxId"], saved["locale"]) == ("Example <b>GmbH</b>", "DE123456789", "de")
    plain.close()
    assert [c for c in plain.complaints if "status of 400" not in c] == []


FORMS = (
    "/account/settings/limits",
    "/account/settings/profile",
    "/account/settings/alerts",
    "/account/settings/keys",
    "/account/billing/auto-recharge",
    "/account/subscribe/change",
    "/account/subscribe/cancel",
)


def test_a_credential_that_may_only_read_is_shown_no_button_and_changes_nothing(demo: Demo) -> None:
    key = {"authorization": f"Bearer {demo.account_key}"}
    text = httpx.get(f"{demo.base_url}/account/settings", headers=key).text
    assert "You may look at these settings." in text
    assert re.findall(r'action="(/account/settings[^"]*)"[^>]*>(?:(?!</form>).)*<button', text, re.DOTALL) == [
        "/account/settings/coupon#coupon"
    ]
    for path in FORMS:
        assert httpx.post(f"{demo.base_url}{path}", headers=key, data={"name": "x"}).status_code == 403, path


def test_another_sites_form_changes_no_setting(demo: Demo, customer: Customer) -> None:
    for path in (*FORMS, "/account/settings/coupon"):
        answer = httpx.post(
            f"{demo.base_url}{path}",
            data={"daily": "1", "code": "WELCOME100", "plan": "base"},
            cookies=customer.cookies(),
            headers={"origin": "http://127.0.0.1:1"},
        )
        assert answer.status_code == 403, path
    assert account(customer, "limits")["dailySpendLimitCredits"] is None
    assert customer.balance() == 0


def test_a_code_longer_than_any_is_no_coupon(demo: Demo, customer: Customer) -> None:
    answer = httpx.post(
        f"{demo.base_url}/account/settings/coupon",
        data={"code": "x" * 201},
        cookies=customer.cookies(),
        headers={"origin": demo.base_url},
    )
    assert answer.status_code == 404
    assert "There is no such coupon." in answer.text and "Expected" not in answer.text


def test_a_card_is_saved_recharges_and_is_removed(chromium: Browser, ecolink: Demo) -> None:
    customer = ecolink.new_customer(plan=None)
    window = Window(chromium, ecolink, java_script_enabled=False)
    page = window.page
    page.goto(customer.link("/account/billing"))
    expect(page.get_by_text("No card is saved.")).to_be_visible()
    page.goto("/top-up-credits?amount=25")
    page.get_by_label("Save this card").check()
    page.get_by_role("button", name="Pay $25.00").click()
    page.get_by_role("button", name="Pay $25.00", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")
    page.goto("/account/billing")
    form = page.locator("#recharge")
    form.get_by_label("Buy credits by itself").check()
    form.get_by_label("When the balance is at or below").fill("30")
    form.get_by_label("Buy for").fill("0.50")
    form.get_by_role("button", name="Save auto-recharge").click()
    expect(form.locator("#recharge-amount-problem")).to_be_visible()
    form.get_by_label("Buy for").fill("10")
    form.get_by_role("button", name="Save auto-recharge").click()
    expect(form.get_by_text("Auto-recharge was saved.")).to_be_visible()
    expect(form.get_by_text("Bought for $10.00")).to_be_visible()
    cards = page.locator("#cards")
    cards.locator("summary", has_text="Remove").click()
    cards.get_by_role("button", name="Remove").click()
    expect(cards.get_by_text("The card was removed")).to_be_visible()
    assert account(customer, "auto-recharge")["enabled"] is False
    window.close()
    assert [c for c in window.complaints if "status of 400" not in c] == []


def test_months_are_paid_upfront(chromium: Browser, ecolink: Demo) -> None:
    customer = ecolink.new_customer(plan=None)
    window = Window(chromium, ecolink)
    page = window.page
    page.goto(customer.link())
    page.get_by_role("button", name="Pay $300 3 months").click()
    page.get_by_role("button", name="Pay $300.00", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Payment received, credits added")
    assert customer.balance() == 315_000_000
    window.close()
    window.check_clean()


def test_a_plan_is_previewed_paid_upgraded_cancelled_and_taken_back(window: Window, demo: Demo) -> None:
    customer = demo.new_customer(plan=None)
    page = window.page
    page.goto(customer.link("/account/subscribe"))
    page.get_by_role("button", name="Choose Base").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Confirm: Base")
    expect(page.get_by_text("$19.00", exact=True)).to_be_visible()
    assert account(customer, "subscription")["provider"] is None
    page.get_by_role("button", name="Confirm and pay $19.00").click()
    page.wait_for_url("**/sandbox/**")
    press(page.url, "pay")
    page.goto("/account/subscribe")
    expect(page.locator(".chosen h2")).to_contain_text("Base")
    page.get_by_role("button", name="Upgrade to Pro").click()
    confirm = page.get_by_role("button", name=re.compile("Confirm and pay"))
    shown = confirm.inner_text()
    confirm.click()
    expect(page.get_by_text("Your plan was changed.")).to_be_visible()
    paid = customer.payments()[0]
    assert shown.endswith(f"${paid['amountUsd']}")
    page.locator("summary", has_text="Cancel").click()
    page.get_by_role("button", name="Cancel my subscription").click()
    expect(page.get_by_text("Your subscription ends with the present period.")).to_be_visible()
    assert account(customer, "subscription")["cancelAtPeriodEnd"] is True
    page.get_by_role("button", name="Keep my plan as it is").click()
    expect(page.get_by_text("Your subscription goes on.")).to_be_visible()
    assert account(customer, "subscription")["cancelAtPeriodEnd"] is False
    page.goto("/account/billing")
    expect(page.get_by_text("Subscription, Sandbox").first).to_be_visible()
