"""Attacks by the web: forged webhooks, redirects, markup, formulas, headers, calls to inside, secrets in logs."""

import csv
import io
import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import stripe
import structlog
from litestar.testing import TestClient
from sqlmodel import select

from api.app import create_app
from api.mails.compose import compose
from api.pages import page_handlers
from engine.clock import real_now
from engine.store.database import reading
from engine.store.tables import AccountRow, ProviderEventRow
from psp.stripe import Stripe
from receipts.render import Renderer
from tests.api.host import Host, assert_problem

SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
INSIDE = (
    "https://127.0.0.1/x",
    "https://127.1/x",
    "https://2130706433/x",
    "https://0x7f000001/x",
    "https://0/x",
    "https://[::1]/x",
    "https://[::ffff:127.0.0.1]/x",
    "https://[::ffff:10.0.0.1]/x",
    "https://[64:ff9b::a00:1]/x",
    "https://10.0.0.1/x",
    "https://172.16.0.1/x",
    "https://192.168.1.1/x",
    "https://169.254.169.254/latest/meta-data",
    "https://[fe80::1]/x",
    "https://[fd00::1]/x",
    "https://100.64.0.1/x",
    "https://0.0.0.0/x",
    "https://224.0.0.1/x",
    "https://localhost/x",
    "https://user:pw@93.184.216.34/x",
    "http://93.184.216.34/x",
    "file:///etc/passwd",
    "gopher://93.184.216.34/x",
    "https://93.184.216.34\\@127.0.0.1/x",
    "https://93.184.216.34/x\r\nHost: inside",
)
AWAY = (
    "//evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/%0d%0aSet-Cookie:x=1\r\n",
    "/\t/evil.example",
    "/x\r\nLocation: https://evil.example",
    " /x",
    "",
)
FOREIGN = (
    "https://evil.example/x",
    "http://testserver.local.evil.example/x",
    "http://testserver.local@evil.example/x",
    "http://user@testserver.local/x",
    "https://testserver.local/x",
    "http://testserver.local:81/x",
    "http://testserver.local\\@evil.example",
    "//testserver.local/x",
    "javascript:alert(1)",
    "http://testserver.local/\r\nx",
    "http://testserver。local/x",
)


@pytest.fixture
def site(host: Host) -> Iterator[Host]:
    """The host with its pages; the account `a` has been spent from by somebody who sends markup."""
    with Renderer() as renderer:
        app = create_app(host.runtime, host.site.settings, page_handlers(renderer))
        with TestClient(app) as client:
            yield replace(host, client=client, site=app.state["site"])


@pytest.mark.parametrize("url", INSIDE)
def test_no_webhook_goes_to_the_inside(host: Host, url: str) -> None:
    admin = host.new_key("admin")
    assert_problem(host.post("/v1/webhook-endpoints", {"url": url}, bearer=admin), 400, "INVALID", field="url")


@pytest.mark.parametrize("path", AWAY)
def test_a_portal_link_leads_to_pages_of_this_server_only(host: Host, path: str) -> None:
    account = host.open("a")
    answer = host.post(f"{account}/portal-sessions", {"returnTo": path})
    assert_problem(answer, 400, "INVALID", field="returnTo")
    url = host.post(f"{account}/portal-sessions", {}).json()["url"]
    opened = host.client.get(url, params={"returnTo": path}, follow_redirects=False)
    if opened.status_code == 303:
        assert opened.headers["location"] == "/top-up-credits"
    else:
        assert_problem(opened, 400, "INVALID")
    assert "evil" not in str(opened.headers)


@pytest.mark.parametrize("url", FOREIGN)
def test_a_checkout_returns_to_configured_origins_only(host: Host, url: str) -> None:
    path = host.open("a", "pro")
    for field in ("successUrl", "cancelUrl"):
        answer = host.post(f"{path}/checkout", {"amountUsdCents": 2_000, field: url})
        assert_problem(answer, 400, "BILLING-004")


def test_markup_in_descriptions_is_text_on_pages_and_in_mails(site: Host) -> None:
    path = site.open("a", "pro")
    site.grant(path, "recharge", 100, description=SCRIPT)
    more = {"description": SCRIPT, "providerId": SCRIPT[:60], "providerName": SCRIPT[:60], "capabilityId": SCRIPT[:60]}
    assert site.spend(path, 10, **more).status_code == 201
    headers = {"Authorization": f"Bearer {site.service_key}"}
    site.client.put(f"{path}/profile", json={"name": SCRIPT, "company": SCRIPT}, headers=headers)
    url = site.post(f"{path}/portal-sessions", {}).json()["url"]
    site.client.get(url, follow_redirects=False)
    shown = 0
    for page in ("/account/usage", "/account/billing", "/top-up-credits"):
        answer = site.client.get(page)
        assert answer.status_code == 200, page
        assert "<script>alert" not in answer.text and "<img src=x" not in answer.text
        assert "'unsafe" not in answer.headers["content-security-policy"]
        shown += answer.text.count("&lt;script&gt;alert(1)")
    assert shown, "the page shows what was written, as text"
    desk = site.new_key("support")
    origin = {"origin": "http://testserver.local"}
    site.client.post("/support/sign-in", data={"key": desk}, headers=origin, follow_redirects=False)
    for page in ("/support/accounts/a", "/support/accounts/a/timeline", "/support?q=%3Cscript%3Ealert(1)"):
        answer = site.client.get(page)
        assert answer.status_code == 200 and "<script>alert" not in answer.text
        assert "&lt;script&gt;alert(1)" in answer.text, page


def test_a_spreadsheet_runs_nothing_of_ours(host: Host) -> None:
    path = host.open("a", "pro")
    host.grant(path, "recharge", 100)
    for start in ("=", "+", "-", "@", "\t=", "\r="):
        assert host.spend(path, 1, description=f"{start}HYPERLINK(1)", callId=f"{start}1").status_code == 201
    today = host.clock.now().date().isoformat()
    text = host.get(f"{path}/usage/export", **{"from": today, "to": today}).content.decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 6
    for row in rows:
        for column in ("callId", "description"):
            assert row[column] and row[column][0] not in "=+-@\t\r\n", row


@pytest.mark.parametrize(
    "signature",
    [None, "", "t=1,v1=00", "v1=00", "t=,v1=", "t=1e9,v1=00", "t=99999999999,v1=" + "0" * 64, "x" * 5_000],
)
def test_a_forged_webhook_is_refused_and_not_kept(host: Host, signature: str | None) -> None:
    _offer_stripe(host)
    headers = {} if signature is None else {"stripe-signature": signature}
    answer = host.client.post("/webhooks/stripe", content=b'{"id":"evt_1"}', headers=headers)
    assert_problem(answer, 400, "WEBHOOK-001")
    assert _events(host) == []


def test_a_webhook_that_was_changed_or_signed_by_another_or_long_ago_is_refused(host: Host) -> None:
    _offer_stripe(host)
    body = '{"id": "evt_1", "object": "event", "type": "x", "data": {"object": {"id": "x", "object": "y"}}}'
    now = int(real_now().timestamp())

    def told(text: str, secret: str, at: int) -> int:
        signed = stripe.WebhookSignature.generate_signature_header(body, secret, at)
        return host.client.post("/webhooks/stripe", content=text, headers={"stripe-signature": signed}).status_code

    assert told(body.replace("evt_1", "evt_2"), "whsec_right", now) == 400
    assert told(body + " ", "whsec_right", now) == 400
    assert told(body, "whsec_wrong", now) == 400
    assert told(body, "whsec_right", now - 400) == 400
    assert told(body, "whsec_right", now + 120) == 400
    assert _events(host) == []
    assert told(body, "whsec_right", now) == 200
    assert _events(host) == ["evt_1"]
    assert told("x" * (1024 * 1024 + 1), "whsec_right", now) == 413


def _offer_stripe(host: Host) -> None:
    host.runtime.providers["stripe"] = Stripe("sk_test_fake", ["whsec_right"])  # type: ignore[index]


def _events(host: Host) -> list[str]:
    with reading(host.runtime.db) as session:
        return [row.event_id for row in session.exec(select(ProviderEventRow)).all()]


def test_no_answer_carries_a_header_that_the_request_made_up(host: Host) -> None:
    path = host.open("a")
    for text in ("x\r\nSet-Cookie: a=b", "x%0d%0aSet-Cookie:%20a=b", "x\nX-Evil: 1"):
        for url in (f"{path}/receipts/{text}.pdf", f"{path}/holds/{text}", f"/portal/{text}", f"/webhooks/{text}"):
            try:
                answer = host.client.get(url, headers={"Authorization": f"Bearer {host.service_key}"})
            except Exception as error:
                assert "URL" in type(error).__name__, error
                continue
            assert "set-cookie" not in answer.headers and "x-evil" not in answer.headers
            assert answer.status_code < 500


def test_no_secret_reaches_a_log(
    host: Host, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever happens, and an unexpected error most of all: keys, tokens and links stay out of the log."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="httpx")  # the caller's own, and quiet in a server (api/logs.py)
    path = host.open("a")
    key = host.post(f"{path}/api-keys", {"name": "k"}).json()["key"]
    link = host.post(f"{path}/portal-sessions", {}).json()["url"]
    session = host.client.get(link, follow_redirects=False).cookies["purser"]
    with structlog.testing.capture_logs() as captured:
        host.get("/v1/billing/balance", bearer=key)
        host.get("/v1/billing/balance", bearer=key[:-1] + "x")
        host.client.get(link, follow_redirects=False)
        host.site.keyring.forget()
        host.client.get("/v1/billing/balance")
        broken = replace(host.runtime, group=None)  # type: ignore[arg-type]
        with TestClient(create_app(broken, host.site.settings)) as client:
            headers = {"Authorization": f"Bearer {host.service_key}", "Idempotency-Key": "k"}
            answer = client.post(f"{path}/spends", json={"amountCredits": "1"}, headers=headers)
            assert answer.status_code == 500 and "Traceback" not in answer.text
    assert captured, "the unexpected error is in the log"
    everything = str(captured) + caplog.text + "".join(capfd.readouterr())
    for secret in (key, session, link.rpartition("/")[2], host.service_key, host.site.settings.secret_keys[0]):
        assert secret not in everything and secret[8:28] not in everything


def test_mails_escape_what_customers_wrote(host: Host) -> None:
    facts = {"link": 'https://pay.example/"><script>alert(1)</script>'}
    owner = AccountRow(
        account_id="a",
        email="a@b.example",
        name=SCRIPT,
        locale="en",
        anchor_at=host.clock.now(),
        created_at=host.clock.now(),
    )
    mail = compose(host.runtime, owner, "autoRechargeConfirm", facts)
    assert "<script>" not in mail.html and "&lt;script&gt;" in mail.html
