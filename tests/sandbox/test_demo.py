"""`purser demo`, run as a process and asked over HTTP: its doors, its clock, its customer's past, its refusals."""

import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.demo_server import check_no_live_keys
from api.environ import SettingsError
from tests.api.host import assert_problem
from tests.sandbox.processes import ROOT, demo, purser


@dataclass(frozen=True)
class Running:
    directory: Path
    ready: Mapping[str, str]
    http: httpx.Client

    def get(self, path: str, key: str = "accountKey") -> dict[str, object]:
        answer = self.http.get(path, headers=self.as_(key))
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def as_(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.ready[key]}"}

    def rows(self, path: str, name: str) -> list[dict[str, str]]:
        found = self.get(path)[name]
        assert isinstance(found, list)
        return found

    def bought(self, action: str = "pay") -> dict[str, str]:
        """A top-up of $20 through the hosted page; the payment as the customer sees it afterwards."""
        started = self.http.post(
            "/v1/billing/checkout", json={"amountUsdCents": 2_000}, headers=self.as_("accountKey")
        ).json()
        assert self.http.post(f"{started['checkoutUrl']}/{action}").status_code == 303
        payments = self.rows("/v1/billing/payments", "payments")
        return next(payment for payment in payments if payment["id"] == started["purchaseId"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("demo") / "folder"
    elsewhere = directory.parent / "not-this-one.sqlite3"
    with (
        demo(directory, PURSER_DATABASE_URL=f"sqlite:///{elsewhere}") as ready,
        httpx.Client(base_url=ready["baseUrl"], trust_env=False, timeout=20) as http,
    ):
        assert not elsewhere.exists(), "a demo ignores PURSER_DATABASE_URL"
        yield Running(directory, ready, http)


def test_the_ready_line_names_everything_a_script_needs(running: Running) -> None:
    names = "baseUrl accountId accountKey serviceKey supportKey approverKey adminKey portalUrl"
    assert list(running.ready) == names.split()
    account = running.ready["accountId"]
    assert running.http.get(f"/v1/accounts/{account}/balance", headers=running.as_("serviceKey")).status_code == 200
    for role in ("support", "approver", "admin"):
        answer = running.http.get("/v1/support/search?q=mira@customer.example", headers=running.as_(f"{role}Key"))
        assert (answer.status_code, answer.json()["accounts"][0]["accountId"]) == (200, account)
    portal = running.http.get(running.ready["portalUrl"])
    assert portal.status_code == 303 and portal.headers["set-cookie"]


def test_the_secret_key_is_kept_for_its_owner_only(running: Running) -> None:
    path = running.directory / "secret.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and len(path.read_text().strip()) == 64


def test_the_customer_has_sixty_days_behind_them(running: Running) -> None:
    rows: list[dict[str, str]] = []
    for number in range(1, 4):
        rows += running.rows(f"/v1/billing/transactions?limit=100&page={number}", "transactions")
    oldest, newest = (datetime.fromisoformat(rows[place]["createdAt"]) for place in (-1, 0))
    assert timedelta(days=59) < datetime.now(UTC) - oldest < timedelta(days=61)
    assert datetime.now(UTC) - newest < timedelta(days=2)
    types = {row["type"] for row in rows}
    assert types >= {"monthly_credit", "promo_credit", "deposit", "debit", "debit_reversal", "expiry"}
    assert len({row["createdAt"][:10] for row in rows}) > 50, "something happened nearly every day"
    buckets = running.get("/v1/billing/balance")["buckets"]
    assert isinstance(buckets, list) and all(int(bucket["availableCredits"]) > 0 for bucket in buckets)


def test_the_past_purchases_have_receipts_of_their_day_and_can_be_refunded_at_the_provider(running: Running) -> None:
    receipts = running.rows("/v1/billing/receipts", "receipts")
    payments = running.rows("/v1/billing/payments", "payments")[-2:]
    assert [payment["status"] for payment in payments] == ["completed", "completed"]
    days = {payment["id"]: payment["completedAt"][:10] for payment in payments}
    issued = {receipt["purchaseId"]: receipt["issuedAt"][:10] for receipt in receipts}
    assert days.items() <= issued.items()
    reference = payments[0]["providerReference"]
    assert running.http.post(f"/sandbox/payments/{reference}/refund", json={"amountMinor": 1}).status_code == 200
    after = running.rows("/v1/billing/payments", "payments")
    assert next(p for p in after if p["id"] == payments[0]["id"])["status"] == "partially_refunded"


def test_the_customer_is_on_pro_with_a_profile(running: Running) -> None:
    found = running.http.get("/v1/support/search?q=mira@customer.example", headers=running.as_("supportKey")).json()
    assert [(account["plan"], account["email"]) for account in found["accounts"]] == [("pro", "mira@customer.example")]


def test_a_top_up_through_the_hosted_page_lands_before_the_browser_is_back(running: Running) -> None:
    before = int(str(running.get("/v1/billing/balance")["balanceCredits"]))
    payment = running.bought()
    assert (payment["status"], payment["creditsGranted"]) == ("completed", "2000")
    assert int(str(running.get("/v1/billing/balance")["balanceCredits"])) == before + 2_000
    mails = running.http.get("/demo/mailbox").json()["mails"]
    assert any(payment["id"] in mail["text"] and mail["to"] == "mira@customer.example" for mail in mails)
    events = running.http.get("/demo/events").json()["events"]
    assert {"purchase.completed", "receipt.issued"} <= {event["type"] for event in events}


@pytest.mark.parametrize(
    ("action", "status"),
    [("decline", "failed"), ("pay-wrong-amount", "review"), ("pay-late", "pending"), ("pay-shuffled", "completed")],
)
def test_each_way_a_payment_goes_shows_at_once(running: Running, action: str, status: str) -> None:
    assert running.bought(action)["status"] == status


def test_a_lost_dispute_and_a_failed_refund_show_at_once(running: Running) -> None:
    for act, status in (("dispute", "disputed"), ("dispute-lost", "refunded"), ("dispute-won", "completed")):
        payment = running.bought()
        reference = payment["providerReference"]
        assert running.http.post(f"/sandbox/payments/{reference}/{act}").status_code == 200
        after = running.rows("/v1/billing/payments", "payments")
        assert next(p for p in after if p["id"] == payment["id"])["status"] == status


def test_the_mailbox_is_a_page_for_browsers(running: Running) -> None:
    answer = running.http.get("/demo/mailbox", headers={"accept": "text/html,*/*"})
    assert answer.headers["content-type"].startswith("text/html") and "<article" in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_index_lists_doors_that_open(running: Running) -> None:
    answer = running.http.get("/")
    assert answer.status_code == 200 and "<script" not in answer.text
    links = re.findall(r'href="([^"]+/portal/[^"]+)"', answer.text)
    assert len(links) == 3 and all(link.startswith(running.ready["baseUrl"]) for link in links)
    homes = [running.http.get(link).headers["location"] for link in links]
    assert homes == ["/top-up-credits", "/support", "/support"]
    again = re.findall(r'href="([^"]+/portal/[^"]+)"', running.http.get("/").text)
    assert not {*links} & {*again}, "each link is fresh"
    for path in ("/demo/mailbox", "/demo/events", "/schema", "/demo/static/demo.css"):
        assert running.http.get(path).status_code == 200


LOOPBACK = ["127.0.0.1", "localhost:8080", "[::1]:1", "LOCALHOST"]
ELSEWHERE = ["evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "10.0.0.1", "", "[", "\xe9"]


@pytest.mark.parametrize("name", LOOPBACK)
def test_loopback_names_are_answered(running: Running, name: str) -> None:
    assert running.http.get("/demo/clock", headers={"host": name}).status_code == 200
    assert running.http.get("/demo/clock", headers={"origin": f"http://{name}"}).status_code == 200


@pytest.mark.parametrize("name", ELSEWHERE)
def test_other_names_are_forbidden_as_host_and_as_origin(running: Running, name: str) -> None:
    raw = name.encode("latin-1")
    assert running.http.get("/demo/clock", headers=[(b"host", raw)]).status_code in (400, 403)
    assert running.http.get("/demo/clock", headers=[(b"origin", b"http://" + raw)]).status_code == 403


def test_a_page_without_an_origin_of_its_own_is_forbidden(running: Running) -> None:
    answer = running.http.post("/demo/clock", json={"advanceSeconds": 0}, headers={"origin": "null"})
    assert_problem(answer, 403, "AUTH-002")


@pytest.mark.parametrize("seconds", [-1, 10 * 366 * 86_400 + 1, 10**30, 1.5, "5", None, True, []])
def test_a_step_that_is_no_step_forward_is_refused(running: Running, seconds: object) -> None:
    before = running.http.get("/demo/clock").json()["now"]
    answer = running.http.post("/demo/clock", json={"advanceSeconds": seconds})
    assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "INVALID", "advanceSeconds")
    gone = datetime.fromisoformat(running.http.get("/demo/clock").json()["now"]) - datetime.fromisoformat(before)
    assert timedelta(0) <= gone < timedelta(seconds=60)


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"advanceSeconds": 1, "x": 1}', b"\xff"])
def test_a_malformed_step_is_refused(running: Running, body: bytes) -> None:
    answer = running.http.post("/demo/clock", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (400, "INVALID")


def test_time_travel_does_what_is_due_is_kept_and_survives_a_restart(tmp_path: Path) -> None:
    with demo(tmp_path / "a", "--catalog", "alphio") as ready, httpx.Client(trust_env=False, timeout=20) as http:
        base, key = ready["baseUrl"], {"authorization": f"Bearer {ready['accountKey']}"}
        started = http.post(f"{base}/v1/billing/checkout", json={"amountUsdCents": 2_000}, headers=key).json()
        moved = http.post(f"{base}/demo/clock", json={"advanceSeconds": 40 * 86_400}).json()["now"]
        assert timedelta(days=39) < datetime.fromisoformat(moved) - datetime.now(UTC) < timedelta(days=41)
        (payment,) = [
            payment
            for payment in http.get(f"{base}/v1/billing/payments", headers=key).json()["payments"]
            if payment["id"] == started["purchaseId"]
        ]
        assert payment["status"] == "expired", "the session ended on the way"
        rows = http.get(f"{base}/v1/billing/transactions?limit=5", headers=key).json()["transactions"]
        assert {"expiry", "monthly_credit"} <= {row["type"] for row in rows}
        by_form = http.post(f"{base}/demo/clock", data={"advanceSeconds": "86400"})
        assert (by_form.status_code, by_form.headers["location"]) == (303, "/")
        account, old_key = ready["accountId"], ready["accountKey"]
    with demo(tmp_path / "a", "--catalog", "alphio") as ready, httpx.Client(trust_env=False, timeout=20) as http:
        now = datetime.fromisoformat(http.get(f"{ready['baseUrl']}/demo/clock").json()["now"])
        assert timedelta(days=40) < now - datetime.now(UTC) < timedelta(days=42)
        assert ready["accountId"] == account
        payments = f"{ready['baseUrl']}/v1/billing/payments"
        for key_text in (old_key, ready["accountKey"]):
            answer = http.get(payments, headers={"authorization": f"Bearer {key_text}"})
            assert answer.status_code == 200 and len(answer.json()["payments"]) == 3


@pytest.mark.parametrize("catalog", ["acn", "ecolink"])
def test_a_demo_runs_on_every_shipped_catalogue_and_its_books_add_up(tmp_path: Path, catalog: str) -> None:
    folder = tmp_path / "b"
    with demo(folder, "--catalog", catalog) as ready, httpx.Client(trust_env=False, timeout=20) as http:
        key = {"authorization": f"Bearer {ready['accountKey']}"}
        (bucket,) = http.get(f"{ready['baseUrl']}/v1/billing/balance", headers=key).json()["buckets"]
        assert bucket["bucket"] == "recharge" and int(bucket["availableCredits"]) > 1_000_000
    told = purser(
        "audit",
        PURSER_DATABASE_URL=f"sqlite:///{folder / catalog}.sqlite3",
        PURSER_SECRET_KEY=(folder / "secret.key").read_text().strip(),
        PURSER_CATALOG=catalog,
    )
    assert (told.returncode, told.stdout.startswith("The books add up: 1 wallets")) == (0, True), told.stdout


def test_a_second_demo_on_the_same_folder_or_port_is_refused_in_one_line(running: Running, tmp_path: Path) -> None:
    folder = purser("demo", "--port", "0", "--dir", str(running.directory))
    port = purser("demo", "--port", running.ready["baseUrl"].rsplit(":", 1)[1], "--dir", str(tmp_path))
    for told, words in ((folder, "in use by another Purser process"), (port, "Address already in use")):
        assert (told.returncode, told.stdout) == (2, "")
        assert words in told.stderr and len(told.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PURSER_STRIPE_SECRET_KEY", "sk_live_abc"),
        ("PURSER_STRIPE_SECRET_KEY", "rk_live_abc"),
        ("PURSER_PADDLE_API_KEY", "pdl_live_apikey_abc"),
        ("PURSER_MOONPAY_SECRET_KEY", " sk_live_abc"),
        ("PURSER_STRIPE_SECRET_KEY_FILE", "FILE"),
    ],
)
def test_a_live_key_is_found_wherever_it_stands(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "key"
    path.write_text("sk_live_abc\n")
    with pytest.raises(SettingsError, match=f"{name} holds a live key") as refused:
        check_no_live_keys({name: str(path) if value == "FILE" else value})
    assert "abc" not in str(refused.value)


def test_test_keys_and_words_that_only_look_alive_are_no_live_keys() -> None:
    harmless = {"PURSER_STRIPE_SECRET_KEY": "sk_test_live_1", "PURSER_CATALOG": "desk_live_", "HOME": "sk_live_1"}
    check_no_live_keys(harmless)


def test_a_demo_with_a_live_key_leaves_nothing_behind(tmp_path: Path) -> None:
    told = purser("demo", "--port", "0", "--dir", str(tmp_path / "demo"), PURSER_STRIPE_SECRET_KEY="sk_live_abc")
    assert (told.returncode, told.stdout) == (2, "") and len(told.stderr.splitlines()) == 1
    assert not (tmp_path / "demo").exists()


def test_a_catalogue_without_the_sandbox_has_no_demo(tmp_path: Path) -> None:
    text = (ROOT / "engine/catalogs/alphio.toml").read_text()
    path = tmp_path / "mine.toml"
    rail = '[[providers]]\nname = "sandbox"\nplatforms = ["web", "ios", "android"]\n'
    assert rail in text
    path.write_text(text.replace(rail, ""))
    told = purser("demo", "--port", "0", "--dir", str(tmp_path / "demo"), "--catalog", str(path))
    assert told.returncode == 2 and "does not offer the sandbox" in told.stderr
    assert not (tmp_path / "demo").exists()
