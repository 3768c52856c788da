"""What a batch has to tell, as outbox rows in its own transaction."""

from collections.abc import Iterable, Sequence

import msgspec

from engine.clock import new_id
from engine.rules.ledger import Page
from engine.store.bulk import Row, insert_rows
from engine.store.pens import AnySession

COLUMNS = ("account_id", "outbox_id", "kind", "payload", "due_at", "attempts", "created_at")
PREFIXES = {"event": "evt", "notice": "out"}
_encoder = msgspec.json.Encoder()


def save_messages(session: AnySession, pages: Iterable[Page], more: Sequence[Row] = ()) -> None:
    """Write the messages of all pages, and more rows of the outbox; mostly there are none."""
    rows = list(more)
    for page in pages:
        for message in page.messages:
            message_id = new_id(PREFIXES[message.kind], page.at)
            payload = _encoder.encode(message.payload).decode()
            rows.append((page.wallet.account_id, message_id, message.kind, payload, page.at, 0, page.at))
    insert_rows(session, "outbox", COLUMNS, rows)
