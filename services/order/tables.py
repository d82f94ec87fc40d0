"""The order service's tables."""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, text

from shared.messaging import outbox_table

metadata = MetaData()

orders = Table(
    "orders",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("idempotency_key", String(128), unique=True),
    Column("fingerprint", String(64), nullable=False),
    Column("state", String(20), nullable=False),
    Column("ending", String(20)),
    Column("customer", String(64), nullable=False),
    Column("currency", String(3), nullable=False),
    Column("total_amount", BigInteger, nullable=False),
    Column("items", JSON, nullable=False),
    Column("card_last4", String(4), nullable=False),
    Column("sealed_card", String(1024)),
    Column("charge_begun", Integer, nullable=False, server_default="0"),
    Column("transaction_id", String(40)),
    Column("answer", JSON(none_as_null=True)),
    Column("tries", Integer, nullable=False, server_default="0"),
    Column("version", Integer, nullable=False),
    Column("due_at", BigInteger),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("traceparent", String(64)),
)
"""`due_at`: when recovery looks at the order next (ms); until then whoever works on it has it. Null once it is final.

`traceparent`: the trace that the order was placed in, so that whoever goes on with it later does so in there.
`answer`: what the customer was told first; every repetition of the request is told the same.
"""

Index("orders_by_state", orders.c.state, orders.c.id)
Index(
    "orders_due",
    orders.c.due_at,
    sqlite_where=text("due_at IS NOT NULL"),
    postgresql_where=text("due_at IS NOT NULL"),
)

steps = Table(
    "order_steps",
    metadata,
    Column("order_id", String(40), ForeignKey("orders.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("state", String(20), nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("detail", String(200), nullable=False),
)

outbox = outbox_table(metadata)
