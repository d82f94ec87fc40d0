"""Products, reservations, restocks."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

SKU = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "products",
        sa.Column("sku", SKU, primary_key=True),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("prices", sa.JSON, nullable=False),
        sa.Column("initial", sa.BigInteger, nullable=False),
        sa.Column("free", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("sold", sa.BigInteger, nullable=False),
        sa.CheckConstraint("free >= 0", name="products_free_not_negative"),
        sa.CheckConstraint("held >= 0", name="products_held_not_negative"),
        sa.CheckConstraint("sold >= 0", name="products_sold_not_negative"),
        sa.CheckConstraint("sold + held + free = initial", name="products_stock_adds_up"),
    )
    op.create_table(
        "reservations",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("state", sa.String(9), nullable=False),
        sa.Column("items", sa.Text, nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "state IN ('HELD', 'COMMITTED', 'RELEASED', 'EXPIRED', 'RETURNED')", name="reservations_state_known"
        ),
    )
    op.create_index(
        "reservations_held_by_expiry",
        "reservations",
        ["expires_at"],
        sqlite_where=sa.text("state = 'HELD'"),
        postgresql_where=sa.text("state = 'HELD'"),
    )
    op.create_table(
        "restocks",
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("sku", SKU, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("restocks")
    op.drop_table("reservations")
    op.drop_table("products")
