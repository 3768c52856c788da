"""The whole of Purser with Apple and Google, and one customer's app that buys there."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from httpx import Response
from litestar.testing import TestClient
from sqlmodel import select

from engine.audit import audit
from engine.jobs import Jobs
from engine.store.database import Database, reading
from engine.store.tables import ProviderEventRow
from psp.apple import Apple, AppleKey
from psp.google import Google
from psp.google_api import PlayApi
from psp.google_push import PushKeys
from tests.api.host import Host, new_app, new_runtime
from tests.engine.support import FakeClock
from tests.stores.apple_chain import private_pem
from tests.stores.apple_world import APP_ID, BUNDLE, Json
from tests.stores.fake_apple import ISSUER, KEY_ID, FakeApple
from tests.stores.fake_google import AUDIENCE, EMAIL, PACKAGE, FakeGoogle


@dataclass
class Shop:
    """`mira` is the account's path."""

    host: Host
    jobs: Jobs
    apple: FakeApple
    google: FakeGoogle
    mira: str = "/v1/accounts/mira"

    def token(self, path: str | None = None) -> str:
        """What the account's app gives the stores."""
        answer = self.host.get(f"{path or self.mira}/purchases/store-token")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["appAccountToken"])

    def post_apple(self, signed: str, path: str | None = None) -> Response:
        return self.host.post(f"{path or self.mira}/purchases/apple", {"signedTransaction": signed}, key=None)

    def post_google(self, token: str, product: str = "credits_1000", path: str | None = None) -> Response:
        body = {"productId": product, "purchaseToken": token}
        return self.host.post(f"{path or self.mira}/purchases/google", body, key=None)

    def notify_apple(self, body: Json, times: int = 1) -> None:
        """A notification arrives, and what follows from it is done."""
        for _ in range(times):
            answer = self.host.client.post("/webhooks/apple", json=body)
            assert answer.status_code == 200, answer.text
        self.jobs.run_due()

    def push_google(self, notification: Json, times: int = 1, message_id: str | None = None) -> None:
        for _ in range(times):
            body, headers = self.google.push(notification, message_id)
            answer = self.host.client.post("/webhooks/google", content=body, headers=headers)
            assert answer.status_code == 200, answer.text
        self.jobs.run_due()

    def recharge(self, path: str | None = None) -> int:
        return self.host.buckets(path or self.mira)["recharge"]

    def payments(self, path: str | None = None) -> list[Json]:
        answer = self.host.get(f"{path or self.mira}/payments")
        return cast(list[Json], answer.json()["payments"])

    def payment(self, path: str | None = None) -> Json:
        (only,) = self.payments(path)
        return only

    def rows(self, path: str | None = None) -> list[tuple[str, int]]:
        """Type and amount of every ledger row in the recharge bucket, oldest first."""
        told = self.host.get(f"{path or self.mira}/transactions", limit=100).json()["transactions"]
        return [
            (row["type"], int(row["amountCredits"]))
            for row in reversed(told)
            if any(entry["bucket"] == "recharge" for entry in row["entries"])
        ]

    def events(self, provider: str) -> dict[str, tuple[str, str | None]]:
        """Status and problem of every stored event, by its type."""
        with reading(self.host.runtime.db) as session:
            rows = session.exec(select(ProviderEventRow).where(ProviderEventRow.provider == provider)).all()
            return {row.type: (row.status, row.problem) for row in rows}

    def check_books(self) -> None:
        """The audit finds nothing wrong."""
        runtime = self.host.runtime
        report = audit(runtime.db, runtime.secrets.all_for("ledger chain"))
        assert report.wallets > 0 and not report.findings, report


@contextmanager
def open_shop(db: Database, clock: FakeClock, apple: FakeApple, google: FakeGoogle, folder: Path) -> Iterator[Shop]:
    play = PlayApi(PACKAGE, google.service_account(folder), google.base_url)
    rails = {
        "apple": Apple(
            BUNDLE,
            APP_ID,
            "Production",
            [apple.world.chain.root_der],
            AppleKey(ISSUER, KEY_ID, private_pem(apple.world.api_key)),
            apple.base_url,
        ),
        "google": Google(PACKAGE, AUDIENCE, EMAIL, PushKeys(f"{google.base_url}/certs"), play),
    }
    runtime = replace(new_runtime(db, clock, "alphio"), providers=rails)
    app = new_app(runtime)
    with TestClient(app) as client:
        host = Host(client, runtime, app.state["site"], clock, service_key="")
        host.service_key = host.new_key("service", name="backend")
        host.open("mira", "pro")
        yield Shop(host, Jobs(runtime, {"mail": lambda *_: None}), apple, google)
    runtime.group.close()
    rails["google"].close()  # type: ignore[attr-defined]
