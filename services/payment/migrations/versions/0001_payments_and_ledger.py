"""Payments, the append-only ledger, and the simulated card network's memory."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_SQLITE_GUARDS = (
    """
    CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
    """
    CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
    # INSERT OR REPLACE removes the row in its way without firing the trigger above
    """
    CREATE TRIGGER ledger_no_replace BEFORE INSERT ON ledger
    WHEN EXISTS (
        SELECT 1 FROM ledger
        WHERE entry_id = NEW.entry_id OR (transaction_id = NEW.transaction_id AND kind = NEW.kind)
    )
    BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END
    """,
)

_POSTGRES_GUARDS = (
    """
    CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'the ledger is append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$
    """,
    """
    CREATE TRIGGER ledger_no_change BEFORE UPDATE OR DELETE ON ledger
    FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()
    """,
    """
    CREATE TRIGGER ledger_no_truncate BEFORE TRUNCATE ON ledger
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()
    """,
)

_LINES = """
    CREATE VIEW ledger_lines AS
    SELECT entry_id, transaction_id, kind, debit_account AS account,
           amount AS debit, 0 AS credit, currency, recorded_at
    FROM ledger
    UNION ALL
    SELECT entry_id, transaction_id, kind, credit_account AS account,
           0 AS debit, amount AS credit, currency, recorded_at
    FROM ledger
"""


def upgrade() -> None:
    """Make everything."""
    _payments()
    _ledger()
    _card_network()


def _payments() -> None:
    op.create_table(
        "payments",
        sa.Column("transaction_id", sa.String(64), primary_key=True),
        sa.Column("payment_key", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger),
        sa.Column("currency", sa.String(3)),
        sa.Column("customer", sa.String(64)),
        sa.Column("card_last4", sa.String(4)),
        sa.Column("decline_code", sa.String(32)),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        sa.Column("refund_reason", sa.String(200)),
        sa.Column("network_reference", sa.String(64)),
        sa.Column("processed_by", sa.String(8), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint(
            "state IN ('PROCESSING', 'CAPTURED', 'DECLINED', 'REFUNDING', 'REFUNDED', 'VOIDED')", name="payments_state"
        ),
        sa.CheckConstraint("amount > 0", name="payments_amount"),
        sa.CheckConstraint("refunded_amount >= 0", name="payments_refunded"),
    )


def _ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("entry_id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("transaction_id", sa.String(64), sa.ForeignKey("payments.transaction_id"), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("debit_account", sa.String(32), nullable=False),
        sa.Column("credit_account", sa.String(32), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("transaction_id", "kind", name="ledger_once"),
        sa.CheckConstraint("kind IN ('capture', 'refund')", name="ledger_kind"),
        sa.CheckConstraint("amount > 0", name="ledger_amount"),
        sa.CheckConstraint("debit_account <> credit_account", name="ledger_accounts"),
    )
    for statement in _SQLITE_GUARDS if op.get_bind().dialect.name == "sqlite" else _POSTGRES_GUARDS:
        op.execute(statement)
    op.execute(_LINES)


def _card_network() -> None:
    op.create_table(
        "card_network_charges",
        sa.Column("payment_key", sa.String(64), primary_key=True),
        sa.Column("reference", sa.String(64), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("currency", sa.String(3)),
        sa.Column("captured_amount", sa.BigInteger, nullable=False),
        sa.Column("refunded_amount", sa.BigInteger, nullable=False),
        sa.Column("card_last4", sa.String(4)),
        sa.Column("decline_code", sa.String(32)),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("state IN ('CAPTURED', 'DECLINED', 'REFUNDED', 'VOIDED')", name="card_network_state"),
        sa.CheckConstraint("refunded_amount BETWEEN 0 AND captured_amount", name="card_network_amounts"),
    )
