"""Schema migrations, and bringing a database to the newest one."""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from engine.store.database import Database


def upgrade(db: Database) -> None:
    """Bring the schema to the newest version, in one transaction; nothing to do is fine."""
    with db.writer.begin() as connection:
        command.upgrade(config(connection), "head")


def is_current(db: Database) -> bool:
    """Whether the schema is the one this code was written for."""
    with db.reader.connect() as connection:
        present = MigrationContext.configure(connection).get_current_revision()
    return present == ScriptDirectory.from_config(config(None)).get_current_head()


def config(connection: Connection | None) -> Config:
    """Alembic's configuration; `connection` is the one to migrate on."""
    made = Config()
    made.set_main_option("script_location", str(files("engine.store") / "migrations"))
    made.attributes["connection"] = connection
    return made
