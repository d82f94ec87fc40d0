"""The body of each service's `migrations/env.py`: run in the transaction that `migrate` has opened."""

from alembic import context


def run() -> None:
    """Apply the pending revisions on the connection handed over in the configuration."""
    context.configure(connection=context.config.attributes["connection"], transactional_ddl=False)
    context.run_migrations()
