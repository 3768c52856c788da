"""Outgoing webhooks: where they go, with which secret, and what became of each attempt.

An event is an outbox row, written with what it tells of. It is fanned out once to the endpoints that listen, one
delivery row each, and stays, so that it can be sent again. A secret is derived from a random salt and the operator's
secret key: the database alone gives none away.
"""

import hashlib
import hmac
import secrets as random
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import partial

from sqlmodel import Session

from engine.clock import new_id
from engine.rules.errors import Invalid, NotFound
from engine.rules.outgoing import EVENT_TYPES, ON_DEMAND
from engine.rules.webhooks import next_wait
from engine.runtime import Runtime, Secrets
from engine.store import endpoints, outbox
from engine.store.database import reading, transact
from engine.store.tables import WebhookDeliveryRow, WebhookEndpointRow

PURPOSE = "outgoing webhook secrets"
OLD_SECRET_LASTS = timedelta(hours=24)
"""After a rotation both secrets sign for so long."""

LEASE = timedelta(seconds=60)
FAN_OUT_MAX = 200
GONE = 410
NO_ACCOUNT = ""
"""The audit log's account of an act that is about none."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery that this worker has leased. `secrets`: those that sign it, the present one first."""

    row: WebhookDeliveryRow
    leased_until: datetime
    url: str
    payload: str
    secrets: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt: the response's status code, or why there was none."""

    code: int | None
    problem: str | None = None

    @property
    def is_success(self) -> bool:
        return self.code is not None and 200 <= self.code < 300


def add_endpoint(
    runtime: Runtime, url: str, events: Sequence[str], description: str, actor: str
) -> tuple[WebhookEndpointRow, str]:
    """Make an endpoint for these events (none named: all); it and its secret, which is told only here."""
    now = runtime.clock.now()
    salt, digest = _new_salt(runtime.secrets)
    row = WebhookEndpointRow(
        endpoint_id=new_id("whe", now),
        url=url,
        description=description,
        events=endpoints.events_text(events),
        is_enabled=True,
        salt=salt,
        digest=digest,
        created_at=now,
        updated_at=now,
    )

    def add(session: Session) -> None:
        if len(endpoints.all_endpoints(session)) >= endpoints.ENDPOINTS_MAX:
            raise Invalid("url", f"There are at most {endpoints.ENDPOINTS_MAX} endpoints.")
        session.add(WebhookEndpointRow(**row.model_dump()))
        _note(session, actor, "webhook_endpoint.added", row, now)

    transact(runtime.db, add)
    listen(runtime)
    return row, _secret_text(runtime.secrets, salt, digest)


def change_endpoint(runtime: Runtime, endpoint_id: str, actor: str, changes: dict[str, object]) -> WebhookEndpointRow:
    """Change columns of an endpoint; enabling one forgets why it was disabled, and that it had failed."""
    now = runtime.clock.now()

    def change(session: Session) -> WebhookEndpointRow:
        row = _locked(session, endpoint_id)
        for name, value in changes.items():
            setattr(row, name, value)
        if changes.get("is_enabled") is True:
            row.disabled_reason = None
            row.failed_at = None
        elif changes.get("is_enabled") is False:
            row.disabled_reason = "by an administrator"
        row.updated_at = now
        session.add(row)
        _note(session, actor, "webhook_endpoint.changed", row, now)
        return row

    changed = transact(runtime.db, change)
    listen(runtime)
    return changed


def remove_endpoint(runtime: Runtime, endpoint_id: str, actor: str) -> None:
    """Delete an endpoint and its deliveries."""

    def remove(session: Session) -> None:
        row = _locked(session, endpoint_id)
        _note(session, actor, "webhook_endpoint.removed", row, runtime.clock.now())
        session.flush()
        endpoints.delete_endpoint(session, endpoint_id)

    transact(runtime.db, remove)
    listen(runtime)


def rotate_secret(runtime: Runtime, endpoint_id: str, actor: str) -> tuple[WebhookEndpointRow, str]:
    """Give an endpoint a new secret; the old one signs too for `OLD_SECRET_LASTS`."""
    now = runtime.clock.now()
    salt, digest = _new_salt(runtime.secrets)

    def rotate(session: Session) -> WebhookEndpointRow:
        row = _locked(session, endpoint_id)
        row.previous_salt, row.previous_digest = row.salt, row.digest
        row.previous_until_at = now + OLD_SECRET_LASTS
        row.salt, row.digest, row.updated_at = salt, digest, now
        session.add(row)
        _note(session, actor, "webhook_endpoint.secret_rotated", row, now)
        return row

    return transact(runtime.db, rotate), _secret_text(runtime.secrets, salt, digest)


def replay_delivery(runtime: Runtime, endpoint_id: str, delivery_id: str) -> WebhookDeliveryRow:
    """Send one event to an endpoint again."""

    def replay(session: Session) -> WebhookDeliveryRow:
        row = endpoints.find_delivery(session, endpoint_id, delivery_id)
        if row is None:
            raise NotFound("delivery")
        endpoints.restart(session, row, runtime.clock.now())
        return row

    return transact(runtime.db, replay)


def replay_since(runtime: Runtime, endpoint_id: str, since: datetime) -> int:
    """Send every event since an instant that the endpoint wants again, in pieces; how many."""
    count, after = 0, (datetime.min.replace(tzinfo=timezone.utc), "")
    while True:

        def piece(session: Session, after: tuple[datetime, str] = after) -> tuple[int, tuple[datetime, str] | None]:
            endpoint = _locked(session, endpoint_id)
            rows = endpoints.events_since(session, since, after, FAN_OUT_MAX)
            sent = endpoints.send_again(session, endpoint, rows, runtime.clock.now())
            return sent, (rows[-1].created_at, rows[-1].outbox_id) if rows else None

        sent, last = transact(runtime.db, piece)
        count += sent
        if last is None:
            return count
        after = last


def listen(runtime: Runtime) -> None:
    """Have this process write the events that somebody listens to; the jobs of every process do it each round."""
    wanted: set[str] = set()
    with reading(runtime.db) as session:
        for endpoint in endpoints.all_endpoints(session):
            if endpoint.is_enabled:
                wanted |= set(endpoints.events_of(endpoint) or EVENT_TYPES)
    runtime.terms.wanted.events = runtime.terms.wanted.always | (ON_DEMAND & wanted)


def want_all(runtime: Runtime) -> None:
    """Have this process write every event, whoever listens: a demo shows them."""
    runtime.terms.wanted.always = ON_DEMAND
    listen(runtime)


def fan_out(runtime: Runtime, now: datetime) -> int:
    """Put the events that are due on their way to whoever listens; how many events."""

    def piece(session: Session) -> int:
        rows = endpoints.undelivered_events(session, now, FAN_OUT_MAX, lock=True)
        if rows:
            endpoints.fan_out(session, rows, endpoints.all_endpoints(session), now)
        return len(rows)

    listen(runtime)
    with reading(runtime.db) as session:
        if not endpoints.undelivered_events(session, now, 1):
            return 0
    return transact(runtime.db, piece)


def to_be_called(runtime: Runtime) -> list[str]:
    """The endpoints to which something is to be sent now."""
    with reading(runtime.db) as session:
        return endpoints.endpoints_to_call(session, runtime.clock.now())


def take_due(runtime: Runtime, endpoint_id: str, limit: int) -> list[Attempt]:
    """Lease what is to be sent to one endpoint now; nothing if it was disabled or deleted meanwhile."""
    now = runtime.clock.now()
    until = now + LEASE
    with reading(runtime.db) as session:
        endpoint = endpoints.get_endpoint(session, endpoint_id)
        if endpoint is None or not endpoint.is_enabled:
            return []
        found = endpoints.due_deliveries(session, endpoint_id, now, limit)
    signing = _secrets_of(runtime.secrets, endpoint, now)
    return [
        Attempt(row, until, endpoint.url, payload, signing)
        for row, payload in found
        if transact(runtime.db, partial(endpoints.lease_delivery, row=row, until=until))
    ]


def end_attempt(runtime: Runtime, attempt: Attempt, result: Result) -> None:
    """Keep what came of an attempt: delivered, to be tried again, or failed; 410 disables the endpoint."""
    now = runtime.clock.now()
    row, attempts = attempt.row, attempt.row.attempts + 1
    values: dict[str, object] = {"attempts": attempts, "response_code": result.code, "problem": result.problem}
    wait = None if result.code == GONE else next_wait(attempts)
    if result.is_success:
        values |= {"status": "delivered", "ended_at": now, "problem": None}
    elif wait is None:
        values |= {"status": "failed", "ended_at": now}
    else:
        values |= {"due_at": now + wait}

    def end(session: Session) -> None:
        if not endpoints.end_attempt(session, row, attempt.leased_until, **values):
            return
        if result.is_success or wait is not None:
            return
        endpoint = endpoints.get_endpoint(session, row.endpoint_id, lock=True)
        if endpoint is not None:
            endpoint.failed_at = now
            if result.code == GONE:
                endpoint.is_enabled = False
                endpoint.disabled_reason = "the receiver answered 410 Gone"
            session.add(endpoint)

    transact(runtime.db, end)


def _locked(session: Session, endpoint_id: str) -> WebhookEndpointRow:
    row = endpoints.get_endpoint(session, endpoint_id, lock=True)
    if row is None:
        raise NotFound("webhook endpoint")
    return row


def _note(session: Session, actor: str, action: str, row: WebhookEndpointRow, now: datetime) -> None:
    facts: dict[str, object] = {"url": row.url, "enabled": row.is_enabled, "events": list(endpoints.events_of(row))}
    outbox.note_act(session, NO_ACCOUNT, actor, action, row.endpoint_id, "", facts, now)


def _new_salt(secrets: Secrets) -> tuple[str, str]:
    salt = random.token_urlsafe(24)
    return salt, _digest(_derived(secrets.signing(PURPOSE), salt))


def _derived(key: bytes, salt: str) -> bytes:
    return hmac.digest(key, salt.encode(), "sha256")


def _digest(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()[:32]


def _secret(secrets: Secrets, salt: str, digest: str) -> bytes | None:
    """The secret made of a salt by that one of the operator's keys which made it first; `None` once that is gone."""
    made = (_derived(key, salt) for key in secrets.all_for(PURPOSE))
    return next((secret for secret in made if hmac.compare_digest(_digest(secret), digest)), None)


def _secret_text(secrets: Secrets, salt: str, digest: str) -> str:
    secret = _secret(secrets, salt, digest)
    assert secret is not None, "it was made just now"
    return "whsec_" + b64encode(secret).decode()


def _secrets_of(secrets: Secrets, endpoint: WebhookEndpointRow, now: datetime) -> tuple[bytes, ...]:
    """What signs now: the present secret, and the one before while it lasts."""
    pairs = [(endpoint.salt, endpoint.digest)]
    before, until = (endpoint.previous_salt, endpoint.previous_digest), endpoint.previous_until_at
    if before[0] is not None and before[1] is not None and until is not None and now < until:
        pairs.append((before[0], before[1]))
    found = (_secret(secrets, salt, digest) for salt, digest in pairs)
    return tuple(secret for secret in found if secret is not None)
