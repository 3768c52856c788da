"""Commands about keys that nobody's account owns: `purser keys list`, `purser keys revoke`; and when a key ends."""

from collections.abc import Sequence
from datetime import datetime

import click

from api.cli_talk import complaints, log_here, say_json, settings_of_environment
from api.instants import instant, read_instant
from api.server import check_schema, opened
from engine.clock import real_now
from engine.rules.errors import NotFound
from engine.store.credentials import operator_keys, revoke_credential
from engine.store.database import open_reader, reading, transact
from engine.store.tables import CredentialRow

SCOPE_HELP = "May do only this of what its role may; as often as needed."


class KeyEnd(click.ParamType[datetime]):
    """`2027-03-31` (that day is the last, in UTC) or `2027-03-31T12:00:00+02:00`: an instant still to come."""

    name = "instant"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        try:
            ends_at = read_instant(str(value), is_end=True)
        except ValueError:
            self.fail("It is a day such as 2027-03-31, or an instant with its offset.", param, ctx)
        if ends_at <= real_now():
            self.fail("It is over.", param, ctx)
        return ends_at


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the keys as one JSON line.")
def keys_list_command(as_json: bool) -> None:
    """List the keys of the host and of staff that work, newest first; their accounts' keys the customers see."""
    log_here()
    settings = settings_of_environment()
    with complaints(ValueError):
        db = open_reader(settings.database_url)
        try:
            check_schema(db)
            with reading(db) as session:
                found = operator_keys(session, real_now())
        finally:
            db.close()
    say_json({"keys": list(map(_as_json, found))}) if as_json else _show(found)


@click.command("revoke")
@click.argument("key_id")
@click.option("--json", "as_json", is_flag=True, help="Print the key's id as one JSON line.")
def keys_revoke_command(key_id: str, as_json: bool) -> None:
    """End the key KEY_ID, anybody's; running servers refuse it within five seconds."""
    log_here()
    with complaints(), opened(settings_of_environment()) as db:
        check_schema(db)
        if not transact(db, lambda session: revoke_credential(session, key_id, None, real_now())):
            raise NotFound("key that works")
    say_json({"revoked": key_id}) if as_json else click.echo(f"{key_id} works no more.")


def _as_json(row: CredentialRow) -> dict[str, str | list[str] | None]:
    return {
        "id": row.credential_id,
        "role": row.role,
        "name": row.name,
        "hint": row.hint,
        "createdAt": instant(row.created_at),
        "lastUsedAt": instant(row.last_used_at) if row.last_used_at else None,
        "expiresAt": instant(row.expires_at) if row.expires_at else None,
        "scopes": row.scopes.split() if row.scopes is not None else None,
    }


def _show(found: Sequence[CredentialRow]) -> None:
    for row in found:
        used = f"last used {instant(row.last_used_at)}" if row.last_used_at else "never used"
        ends = f", until {instant(row.expires_at)}" if row.expires_at else ""
        scopes = f", only {row.scopes}" if row.scopes is not None else ""
        click.echo(f"{row.credential_id}  {row.role:<8}  …{row.hint}  {row.name}, {used}{ends}{scopes}")
