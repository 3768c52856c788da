"""Alembic's entry: runs the migrations on the connection it is handed."""

from alembic import context

from engine.store.tables import Base

context.configure(
    connection=context.config.attributes["connection"], target_metadata=Base.metadata, render_as_batch=False
)
context.run_migrations()
