"""A customer of alphio whose subscription is kept by Paddle's fake: asked over HTTP, told by signed webhooks."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, cast

from litestar.testing import TestClient
from sqlmodel import select

from engine.flows import receive
from engine.jobs import Jobs
from engine.rules.catalog import Catalog
from engine.store.database import Database, reading
from engine.store.tables import SubscriptionRow
from psp.paddle import Paddle
from tests.api.host import Host, new_app, new_runtime
from tests.api.subscriber import Subscriber
from tests.engine.support import FakeClock
from tests.psp.fake_paddle import FakePaddle
from tests.psp.paddle_objects import Json


@dataclass
class PaddleCustomer(Subscriber):
    """`hear` brings the events that Paddle has sent since; `loses` drops those whose type begins so."""

    fake: FakePaddle = field(kw_only=True)
    rail: Paddle = field(kw_only=True)
    loses: tuple[str, ...] = ()
    heard: int = 0

    def begin(self, plan: str, interval: str = "month") -> dict[str, Any]:
        """Subscribe, pay, and let Purser hear of it."""
        url = self.change(plan, interval)["checkoutUrl"]
        self.fake.subscribe(url.rpartition("=")[2])
        self.hear()
        return self.subscription()

    def tell(self, *events: Any) -> None:
        assert not events, "Paddle tells by its own events"
        self.hear()

    def hear(self) -> None:
        waiting, self.heard = self.fake.events[self.heard :], len(self.fake.events)
        self.bring(event for event in waiting if not event["event_type"].startswith(self.loses or ("none",)))

    def bring(self, events: Iterable[Json]) -> None:
        for event in events:
            body, headers = self.fake.signed(event)
            verified = self.rail.verify(headers, body, self.host.clock.now())
            receive.store(self.runtime, self.rail, verified, self.host.clock.now())
        self.jobs.run_due()

    def bring_anew(self, events: Iterable[Json], name: str) -> None:
        """The same events as if they had never come: each under an id of its own."""
        self.bring(event | {"event_id": f"{event['event_id']}{name}"} for event in events)

    def wait(self, **span: float) -> datetime:
        now = self.host.clock.advance(timedelta(**span))
        self.fake.advance()
        self.hear()
        return now

    def row(self) -> SubscriptionRow:
        with reading(self.runtime.db) as session:
            return session.exec(select(SubscriptionRow).order_by(SubscriptionRow.created_at.desc())).all()[0]  # type: ignore[attr-defined]

    @property
    def reference(self) -> str:
        reference = self.row().reference
        assert reference is not None
        return reference

    def at_paddle(self) -> Json:
        return self.fake.subscription(self.reference)


def open_customer(db: Database, clock: FakeClock, fake: FakePaddle, rail: Paddle, **change: Any) -> PaddleCustomer:
    runtime = new_runtime(db, clock, "alphio")
    catalog: Catalog = cast(Catalog, change["change"](runtime.catalog)) if "change" in change else runtime.catalog
    runtime = replace(runtime, catalog=catalog, providers={"paddle": rail})
    app = new_app(runtime)
    host = Host(TestClient(app), runtime, app.state["site"], clock, service_key="")
    host.service_key = host.new_key("service", name="backend")
    made = PaddleCustomer(host, cast(Any, None), Jobs(runtime), fake=fake, rail=rail)
    made.path = host.open("sub1")
    return made
