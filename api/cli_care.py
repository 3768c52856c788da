"""Commands that care for an installation: `purser doctor`, `purser backup`, `purser restore`."""

import os
import sys
from dataclasses import asdict
from pathlib import Path

import click
from rich.console import Console
from rich.status import Status

from api.backup import NoBackup, backup, restore
from api.cli_talk import NO, complaints, say_json, settings_of_environment
from api.doctor import Sign, examine
from api.environ import SettingsError
from api.settings import read_settings

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
        say_json({"well": is_well, "signs": list(map(asdict, signs))})
    else:
        for sign in signs:
            click.echo(f"{MARKS[sign.level]}  {sign.name:<11} {sign.detail}")
    if not is_well:
        sys.exit(NO)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the file and its size as one JSON line.")
def backup_command(file: Path, as_json: bool) -> None:
    """Copy the database to FILE, also while the server runs; a copy is checked before it has its name."""
    settings = settings_of_environment()
    with complaints(NoBackup), _working("Copying"):
        backup(settings.database_url, file)
    size = file.stat().st_size
    say_json({"file": str(file), "bytes": size}) if as_json else click.echo(f"{file}: {size:,} bytes.")


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print the file as one JSON line.")
def restore_command(file: Path, as_json: bool) -> None:
    """Put a copy in the place of a database that is not there; nothing is overwritten."""
    settings = settings_of_environment()
    with complaints(NoBackup), _working("Restoring"):
        restore(settings.database_url, file)
    if as_json:
        say_json({"restored": str(file)})
        return
    click.echo("Restored. Run `purser db upgrade` and `purser audit` before you serve it.")


def _working(doing: str) -> Status:
    """A sign of life on stderr for as long as one step takes, where somebody looks at it."""
    return Console(stderr=True).status(f"{doing} …")
