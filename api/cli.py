"""The command `purser`: what an operator types. Answers go to stdout, logs and complaints to stderr.

Exit codes: 0 done, 1 the answer is no (an audit that found something, a schema of another version), 2 refused.
"""

import os
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import get_args

import click
from rich.console import Console
from rich.table import Table
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlmodel import Session

from api.auth import Action, create_key
from api.cli_care import backup_command, doctor_command, restore_command
from api.cli_import import import_command
from api.cli_keys import SCOPE_HELP, KeyEnd, keys_list_command, keys_revoke_command
from api.cli_receipts import receipts_export_command
from api.cli_talk import NO, check_begun
from api.cli_talk import complaints as _complaints
from api.cli_talk import counting as _counting
from api.cli_talk import log_here as _log
from api.cli_talk import say_json as _say_json
from api.cli_talk import settings_of_environment as _read_settings
from api.demo_server import DemoOrder, Ready, run_demo
from api.environ import SettingsError
from api.exports import export_month, read_month
from api.receipt_checks import verify_documents
from api.reconciling import reconcile_now, reports_text, reports_told
from api.script import run_script
from api.server import assembled, check_schema, opened, opened_to_read, providers_of, serve, work
from api.settings import read_settings
from engine.audit import Report
from engine.audit_many import audit_many
from engine.catalogs import load_catalog
from engine.clock import Clock
from engine.rules.errors import NotFound
from engine.runtime import Secrets
from engine.store.credentials import KeyRole
from engine.store.database import open_reader, reading
from engine.store.migrations import is_current, upgrade
from engine.store.tables import AccountRow
from receipts.render import Renderer


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="purser")
def main() -> None:
    """Purser: a self-hosted credit wallet service. Settings come from PURSER_* environment variables."""


@main.command("serve")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes; PostgreSQL only.")
def serve_command(workers: int) -> None:
    """Serve the API and the pages, and do the jobs."""
    _log()
    with _complaints():
        serve(read_settings(os.environ), workers)


@main.command("worker")
def worker_command() -> None:
    """Do the jobs only, beside servers on the same PostgreSQL database."""
    _log()
    with _complaints():
        work(read_settings(os.environ))


@main.command("demo")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--dir", "directory", type=click.Path(path_type=Path, file_okay=False), default=Path("demo-data"), show_default=True
)
@click.option("--catalog", default="alphio", show_default=True, help="alphio, acn, ecolink, or a file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON line when it is ready.")
@click.option("--script", "is_script", is_flag=True, help="Do the main job without a person and print a checklist.")
def demo_command(port: int, directory: Path, catalog: str, as_json: bool, is_script: bool) -> None:
    """Run a demo: a customer with a past, a sandbox for payments, time travel. No real money, no mail."""
    _log()
    if is_script:
        _play(catalog)
        return

    def on_ready(ready: Ready) -> None:
        _say_json(ready) if as_json else _show_ready(ready)

    with _complaints():
        run_demo(DemoOrder(directory, port, catalog), os.environ, on_ready)


def _play(catalog: str) -> None:
    """The main job on a demo of its own; exit code 1 if something was not as it should be."""
    checks: list[bool] = []

    def say(is_so: bool, what: str) -> None:
        checks.append(is_so)
        click.echo(f"{'ok ' if is_so else 'NO '} {what}")

    with _complaints():
        is_good = run_script(catalog, say)
    click.echo(f"{sum(checks)} of {len(checks)} checks held.")
    if not is_good:
        sys.exit(NO)


@main.group("db")
def db_group() -> None:
    """The database's schema."""


@db_group.command("upgrade")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def db_upgrade_command(as_json: bool) -> None:
    """Bring the schema to this version's."""
    _log()
    with _complaints(), opened(read_settings(os.environ)) as db:
        upgrade(db)
    _say_json({"current": True}) if as_json else click.echo("The schema is this version's.")


@db_group.command("check")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def db_check_command(as_json: bool) -> None:
    """Say whether the schema is this version's, also while a server runs; exit code 1 if not."""
    _log()
    with _complaints():
        is_right = _has_this_schema(read_settings(os.environ).database_url)
    told = "The schema is this version's."
    if not is_right:
        told = "The schema is another version's, or there is none: run `purser db upgrade`."
    _say_json({"current": is_right}) if as_json else click.echo(told)
    if not is_right:
        sys.exit(NO)


@main.group("catalog")
def catalog_group() -> None:
    """Catalogue files."""


@catalog_group.command("check")
@click.argument("file")
def catalog_check_command(file: str) -> None:
    """Say whether FILE (or a shipped catalogue's name) can be used, and where it is wrong if not."""
    with _complaints():
        catalog = load_catalog(file)
    plans = ", ".join(plan.id for plan in catalog.plans) or "no plans"
    rails = ", ".join(rail.name for rail in catalog.providers)
    click.echo(f"{catalog.name}: {len(catalog.pricing.tiers)} tiers, {plans}; {rails}.")


@main.group("keys")
def keys_group() -> None:
    """Keys of the host, of staff and of accounts."""


@keys_group.command("create")
@click.option("--role", type=click.Choice(get_args(KeyRole)), required=True)
@click.option("--name", required=True, help="Whose key it is: a person's or a service's name.")
@click.option("--account", "account_id", help="The account, for the role `account`.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(get_args(Action)), help=SCOPE_HELP)
@click.option("--expires", "ends_at", type=KeyEnd(), help="The last instant or UTC day; without it until revoked.")
@click.option("--json", "as_json", is_flag=True, help='Print {"key": …}.')
def keys_create_command(
    role: KeyRole,
    name: str,
    account_id: str | None,
    scopes: tuple[Action, ...],
    ends_at: datetime | None,
    as_json: bool,
) -> None:
    """Make a key and print it: the only time it can be read."""
    _log()
    if (role == "account") != (account_id is not None):
        raise click.UsageError("The role `account` needs --account, and only that one has it.")
    settings = _read_settings()
    with _complaints(), opened(settings) as db:
        check_schema(db)
        if account_id is not None:
            with reading(db) as session:
                _check_account(session, account_id)
        with assembled(settings, db, Clock(), {}) as parts:
            try:
                key = create_key(parts.runtime, role, name, account_id, scopes or None, ends_at)
            except ValueError as error:
                raise SettingsError(f"No key was made: {error}.") from error
    _say_json({"key": key}) if as_json else click.echo(key)


@main.command("audit")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one JSON line.")
@click.option("--processes", type=click.IntRange(1, 64), default=os.cpu_count() or 1, help="Default: one a core.")
def audit_command(as_json: bool, processes: int) -> None:
    """Prove that the books add up, or name the first row that does not; exit code 1 if it finds something."""
    _log()
    settings = _read_settings()
    keys = Secrets(settings.secret_keys).all_for("ledger chain")
    with _complaints(), opened_to_read(settings) as db, _counting("Reading the ledger", is_shown=True) as progress:
        check_schema(db)
        report = audit_many(db, keys, processes, progress)
    _say_json(_report(report)) if as_json else _show_report(report)
    if not report.is_clean:
        sys.exit(NO)


@main.command("reconcile")
@click.option("--provider", "name", help="Only this one; all that can be polled without it.")
@click.option("--json", "as_json", is_flag=True, help="Print the reports as one JSON line.")
def reconcile_command(name: str | None, as_json: bool) -> None:
    """Read the providers' own lists and heal what webhooks did not bring; exit code 1 if something is left."""
    _log()
    settings = _read_settings()
    with _complaints(), opened(settings) as db:
        check_schema(db)
        with assembled(settings, db, Clock(), providers_of(settings)) as parts:
            reports = reconcile_now(parts.runtime, name)
    _say_json(reports_told(reports)) if as_json else click.echo("\n".join(reports_text(reports)))
    if not all(report.is_clean for report in reports):
        sys.exit(NO)


@main.group("receipts")
def receipts_group() -> None:
    """The documents that were issued."""


@receipts_group.command("verify")
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON line.")
def receipts_verify_command(as_json: bool) -> None:
    """Render every document again and compare it with the PDF that was kept; exit code 1 if one differs."""
    _log()
    settings = _read_settings()
    with _complaints(), opened_to_read(settings) as db, _counting("Rendering again", is_shown=not as_json) as progress:
        check_schema(db)
        with Renderer() as renderer:
            verified = verify_documents(db, renderer, progress)
    if as_json:
        _say_json(verified)
    else:
        click.echo(
            f"{verified.documents} documents: {verified.same} the same, {verified.older} of another edition, "
            f"{verified.unmade} without a PDF yet, {len(verified.findings)} wrong."
        )
        for finding in verified.findings:
            click.echo(f"  {finding.where}: {finding.what}")
    if verified.findings:
        sys.exit(NO)


@main.command("export")
@click.option("--month", "name", required=True, help="Which month (UTC), as YYYY-MM.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The directory for it.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures and the files as one JSON line.")
def export_command(name: str, out: Path, as_json: bool) -> None:
    """Write a month for the books: deferred revenue, recognised revenue, breakage, cost basis and a journal."""
    _log()
    try:
        month = read_month(name)
    except ValueError as error:
        raise click.UsageError(f"--month: {error}.") from error
    settings = _read_settings()
    with _complaints(), opened_to_read(settings) as db, _counting("Writing", is_shown=not as_json) as progress:
        check_schema(db)
        check_begun(db, month)
        made = export_month(db, month, out, progress)
    figures = {currency: {**asdict(of), "closing": of.closing} for currency, of in made.figures.items()}
    if as_json:
        _say_json({"month": month.name, "files": list(map(str, made.files)), "minor": figures})
        return
    for currency, of in figures.items():
        click.echo(f"{currency} (minor units): " + ", ".join(f"{word} {amount}" for word, amount in of.items()))
    click.echo("\n".join(map(str, made.files)))


for _command in (doctor_command, backup_command, restore_command, import_command):
    main.add_command(_command)
for _command in (keys_list_command, keys_revoke_command):
    keys_group.add_command(_command)
receipts_group.add_command(receipts_export_command)


def _has_this_schema(url: str) -> bool:
    """Whether the database is there with this version's schema; looking makes no file and takes no lock."""
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and not Path(parsed.database or "").is_file():
            return False
        db = open_reader(url)
    except (ValueError, ArgumentError) as error:
        raise SettingsError(f"PURSER_DATABASE_URL can't be used: {error}.") from error
    try:
        return is_current(db)
    finally:
        db.close()


def _check_account(session: Session, account_id: str) -> None:
    if session.get(AccountRow, account_id) is None:
        raise NotFound("account")


def _report(report: Report) -> dict[str, object]:
    return {
        "clean": report.is_clean,
        "wallets": report.wallets,
        "rows": report.rows,
        "purchases": report.purchases,
        "documents": report.documents,
        "findings": [{"where": finding.where, "what": finding.what} for finding in report.findings],
    }


def _show_report(report: Report) -> None:
    read = f"{report.wallets} wallets, {report.rows} rows, {report.purchases} purchases, {report.documents} documents"
    if report.is_clean:
        click.echo(f"The books add up: {read}.")
        return
    click.echo(f"The books do not add up ({read}):")
    for finding in report.findings:
        click.echo(f"  {finding.where}: {finding.what}")


def _show_ready(ready: Ready) -> None:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    for name, value in (
        ("All doors", ready.base_url),
        ("Customer's pages", ready.portal_url),
        ("Account", ready.account_id),
        ("Account key", ready.account_key),
        ("Service key", ready.service_key),
        ("Support key", ready.support_key),
        ("Approver key", ready.approver_key),
        ("Admin key", ready.admin_key),
    ):
        table.add_row(name, value, style=None)
    console = Console(soft_wrap=True)
    console.print("The demo is ready. No real money, no mail. Ctrl-C ends it.")
    console.print(table, soft_wrap=True)


if __name__ == "__main__":
    main()
