"""Alembic's entry point; ``survey.database.migrate`` hands the connection in."""

from alembic import context

from survey.models import Base

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite can alter little, so tables are copied
)
context.run_migrations()
