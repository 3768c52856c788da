"""A host with a provider that keeps its own books, staff of every role, and jobs that run when a test says so."""

from dataclasses import dataclass, replace
from typing import Any, cast

import msgspec
from httpx import Response

from api.mails.compose import write_notice
from engine.flows import receive
from engine.jobs import Jobs
from engine.payments import Event, Fact
from tests.api.host import Host
from tests.flows.world import BookProvider


@dataclass
class Desk:
    """The support desk of one host. Each key belongs to a person of their own."""

    host: Host
    provider: BookProvider
    jobs: Jobs
    support: str
    approver: str
    admin: str
    events: int = 0

    def buy(self, path: str, cents: int, paid: int | None = None, state: str = "paid", currency: str = "USD") -> str:
        """A purchase and the provider's word on its payment; its id."""
        made = self.host.post(f"{path}/checkout", {"amountUsdCents": cents})
        assert made.status_code == 201, made.text
        purchase_id = str(made.json()["purchaseId"])
        self.deliver(self.payment(purchase_id, cents if paid is None else paid, state, currency))
        return purchase_id

    def payment(self, purchase_id: str, minor: int, state: str = "paid", currency: str = "USD") -> Fact:
        request = self.provider.requests[f"cs_{purchase_id}"]
        return self.provider.say("payment", f"pi_{purchase_id}", state, minor, request=request, currency=currency)

    def deliver(self, *facts: Fact) -> None:
        for fact in facts:
            self.events += 1
            event = Event(f"evt_{self.events}", f"{fact.kind}.{fact.state}", msgspec.json.encode(fact))
            assert receive.store(self.host.runtime, self.provider, event, self.host.clock.now())
        self.jobs.run_due()

    def queue(self, name: str, **query: Any) -> list[dict[str, Any]]:
        answer = self.host.get(f"/v1/support/queues/{name}", bearer=self.support, **query)
        assert answer.status_code == 200, answer.text
        assert answer.json()["pagination"]["total"] >= len(answer.json()[name])
        return cast(list[dict[str, Any]], answer.json()[name])

    def resolve(self, queue: str, item_id: str, action: str, bearer: str | None = None, **more: object) -> Response:
        body = {"action": action, "reason": "looked into it"} | more
        path = f"/v1/support/queues/{queue}/{item_id}/resolve"
        return self.host.post(path, body, key=None, bearer=bearer or self.support)

    def acts(self) -> list[tuple[str, str]]:
        """Actor and action of every act, newest first."""
        answer = self.host.get("/v1/admin/audit-log", bearer=self.admin, limit=100)
        return [(act["actor"], act["action"]) for act in answer.json()["auditLog"]]


def open_desk(host: Host, policy: str | None = None, grant_limit: int | None = None) -> Desk:
    """A desk on a host; the refund policy and the limit of corrections are the catalogue's unless they are named."""
    provider = BookProvider()
    runtime = host.runtime
    rules = runtime.catalog.refunds
    if policy is not None:
        rules = msgspec.structs.replace(rules, policy=policy)
    if grant_limit is not None:
        rules = msgspec.structs.replace(rules, grant_approval_above=grant_limit)
    msgspec.structs.force_setattr(runtime.catalog, "refunds", rules)
    cast(dict[str, Any], runtime.providers)["stripe"] = provider
    return Desk(
        host,
        provider,
        Jobs(replace(runtime), {"notice": write_notice}),
        support=host.new_key("support", name="Sam"),
        approver=host.new_key("approver", name="Ben"),
        admin=host.new_key("admin", name="Ada"),
    )
