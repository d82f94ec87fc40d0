"""The tables of the payment service, and of the card network that it simulates.

Times are epoch milliseconds, amounts the currency's minor unit. `migrations/` makes the tables, and the triggers that
keep the ledger append-only; a test holds both descriptions together.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

metadata = MetaData()

payments = Table(
    "payments",
    metadata,
    Column("transaction_id", String(64), primary_key=True),
    Column("payment_key", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    # unknown (NULL) for a key that was refunded before any charge came in
    Column("amount", BigInteger),
    Column("currency", String(3)),
    Column("customer", String(64)),
    Column("card_last4", String(4)),
    Column("decline_code", String(32)),
    Column("refunded_amount", BigInteger, nullable=False),
    Column("refund_reason", String(200)),
    Column("network_reference", String(64)),
    Column("processed_by", String(8), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    CheckConstraint(
        "state IN ('PROCESSING', 'CAPTURED', 'DECLINED', 'REFUNDING', 'REFUNDED', 'VOIDED')", name="payments_state"
    ),
    CheckConstraint("amount > 0", name="payments_amount"),
    CheckConstraint("refunded_amount >= 0", name="payments_refunded"),
)

ledger = Table(
    "ledger",
    metadata,
    Column("entry_id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("transaction_id", String(64), ForeignKey("payments.transaction_id"), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("debit_account", String(32), nullable=False),
    Column("credit_account", String(32), nullable=False),
    Column("amount", BigInteger, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("recorded_at", BigInteger, nullable=False),
    # the last line of defence against charging twice
    UniqueConstraint("transaction_id", "kind", name="ledger_once"),
    CheckConstraint("kind IN ('capture', 'refund')", name="ledger_kind"),
    CheckConstraint("amount > 0", name="ledger_amount"),
    CheckConstraint("debit_account <> credit_account", name="ledger_accounts"),
)

card_network_charges = Table(
    "card_network_charges",
    metadata,
    Column("payment_key", String(64), primary_key=True),
    Column("reference", String(64), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("currency", String(3)),
    Column("captured_amount", BigInteger, nullable=False),
    Column("refunded_amount", BigInteger, nullable=False),
    Column("card_last4", String(4)),
    Column("decline_code", String(32)),
    Column("updated_at", BigInteger, nullable=False),
    CheckConstraint("state IN ('CAPTURED', 'DECLINED', 'REFUNDED', 'VOIDED')", name="card_network_state"),
    CheckConstraint("refunded_amount BETWEEN 0 AND captured_amount", name="card_network_amounts"),
)
"""The other side of the wire: the network's own memory. The service itself never reads or writes it."""
