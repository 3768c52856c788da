"""`purser receipts export`: a month of documents for the books of whoever runs Purser."""

from contextlib import nullcontext
from pathlib import Path

import click

from api.cli_talk import check_begun, complaints, counting, log_here, say_json, settings_of_environment
from api.exports import read_month
from api.receipt_books import write_month
from api.server import check_schema, opened_to_read
from engine.catalogs import load_catalog
from receipts import RenderFailed
from receipts.render import Renderer


@click.command("export")
@click.option("--month", "name", required=True, help="Which month in the seller's time zone, as YYYY-MM.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path(), help="The directory for it.")
@click.option("--pdfs", "with_pdfs", is_flag=True, help="Write each document's PDF beside the table.")
@click.option("--json", "as_json", is_flag=True, help="Print the count and the table's file as one JSON line.")
def receipts_export_command(name: str, out: Path, with_pdfs: bool, as_json: bool) -> None:
    """Write a month's receipts, invoices and credit notes of all accounts as one table."""
    log_here()
    try:
        month = read_month(name)
    except ValueError as error:
        raise click.UsageError(f"--month: {error}.") from error
    settings = settings_of_environment()
    renderer = Renderer() if with_pdfs else nullcontext()
    with (
        complaints(RenderFailed),
        opened_to_read(settings) as db,
        counting("Writing", is_shown=not as_json) as progress,
        renderer as press,
    ):
        check_schema(db)
        check_begun(db, month)
        zone = load_catalog(settings.catalog).seller.timezone
        written = write_month(db, month.name, zone, out, press, progress)
    table = str(written.files[0])
    if as_json:
        say_json({"month": month.name, "documents": written.documents, "file": table})
        return
    beside = " and as many PDFs" if with_pdfs else ""
    click.echo(f"{table}{beside}. Documents: {written.documents}")
