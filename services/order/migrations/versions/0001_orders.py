"""Orders, their steps, and the outbox."""

import sqlalchemy as sa
from alembic import op

from shared.messaging import create_outbox_table, drop_outbox_table

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "orders",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("idempotency_key", sa.String(128), unique=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("ending", sa.String(20)),
        sa.Column("customer", sa.String(64), nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("total_amount", sa.BigInteger, nullable=False),
        sa.Column("items", sa.JSON, nullable=False),
        sa.Column("card_last4", sa.String(4), nullable=False),
        sa.Column("sealed_card", sa.String(1024)),
        sa.Column("charge_begun", sa.Integer, nullable=False, server_default="0"),
        sa.Column("transaction_id", sa.String(40)),
        sa.Column("answer", sa.JSON),
        sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("due_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
    )
    op.create_index("orders_by_state", "orders", ["state", "id"])
    due = sa.text("due_at IS NOT NULL")
    op.create_index("orders_due", "orders", ["due_at"], sqlite_where=due, postgresql_where=due)
    op.create_table(
        "order_steps",
        sa.Column("order_id", sa.String(40), sa.ForeignKey("orders.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.String(200), nullable=False),
    )
    create_outbox_table()


def downgrade() -> None:
    """Drop them."""
    drop_outbox_table()
    op.drop_table("order_steps")
    op.drop_table("orders")
