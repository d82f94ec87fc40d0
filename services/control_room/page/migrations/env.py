"""Alembic's entry point."""

from shared.chassis import migration_env

migration_env.run()
