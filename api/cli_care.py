"""Commands that care for an installation: `purser doctor`, `purser backup`, `purser restore`."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
import msgspec

from api.backup import NoBackup, backup, restore
from api.doctor import Sign, examine
from api.environ import SettingsError
from api.settings import Settings, read_settings

REFUSED = 2
MARKS = {"ok": "ok     ", "warning": "warning", "bad": "BAD    "}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the signs as one JSON line.")
def doctor_command(as_json: bool) -> None:
    """Look at everything the server stands on; exit code 1 if something is bad."""
    signs: list[Sign] = []
    try:
        settings = read_settings(os.environ)
        signs = list(examine(settings))
    except SettingsError as error:
        signs = [Sign("settings", "bad", str(error))]
    is_well = not any(sign.level == "bad" for sign in signs)
    if as_json:
        click.echo(msgspec.json.encode({"well": is_well, "signs": list(map(asdict, signs))}).decode())
    else:
        for sign in signs:
            click.echo(f"{MARKS[sign.level]}  {sign.name:<11} {sign.detail}")
    if not is_well:
        sys.exit(1)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def backup_command(file: Path) -> None:
    """Copy the database to FILE, also while the server runs; a copy is checked before it has its name."""
    settings = _settings()
    try:
        backup(settings.database_url, file)
    except (NoBackup, OSError) as error:
        _refuse(error)
    click.echo(f"{file}: {file.stat().st_size:,} bytes.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def restore_command(file: Path) -> None:
    """Put a copy in the place of a database that is not there; nothing is overwritten."""
    settings = _settings()
    try:
        restore(settings.database_url, file)
    except (NoBackup, OSError) as error:
        _refuse(error)
    click.echo("Restored. Run `purser db upgrade` and `purser audit` before you serve it.")


def _settings() -> Settings:
    try:
        return read_settings(os.environ)
    except SettingsError as error:
        _refuse(error)
        raise AssertionError("a refusal ends the process") from error


def _refuse(error: Exception) -> None:
    click.echo(f"purser: {error}", err=True)
    sys.exit(REFUSED)
