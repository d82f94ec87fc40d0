"""The tables of the trace store. Times are microseconds since the epoch, as in Jaeger's API, unless named `_ms`."""

import sqlalchemy as sa

metadata = sa.MetaData()

traces = sa.Table(
    "traces",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("stored_ms", sa.BigInteger, nullable=False),
    sa.Column("spans", sa.Integer, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
)

spans = sa.Table(
    "spans",
    metadata,
    sa.Column("trace_id", sa.String(32), primary_key=True),
    sa.Column("span_id", sa.String(16), primary_key=True),
    sa.Column("parent_id", sa.String(16), nullable=False),
    sa.Column("service", sa.String(128), nullable=False),
    sa.Column("operation", sa.String(256), nullable=False),
    sa.Column("start_us", sa.BigInteger, nullable=False),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sa.Column("process", sa.String(32), nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
)

processes = sa.Table(
    "processes",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
)

operations = sa.Table(
    "operations",
    metadata,
    sa.Column("service", sa.String(128), primary_key=True),
    sa.Column("operation", sa.String(256), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("seen_ms", sa.BigInteger, nullable=False),
)
