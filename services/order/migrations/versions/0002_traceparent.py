"""The trace that an order was placed in."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("orders", sa.Column("traceparent", sa.String(64)))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("orders", "traceparent")
