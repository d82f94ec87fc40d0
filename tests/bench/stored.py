"""Fills the SQLite databases of a running stack with orders of the past: copies of a real one, under other ids."""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

_CHUNK = 50_000
"""Rows a transaction: the services write between two of them."""

_ORDER = "'ord_00' || printf('%024d', n)"
_PAYMENT = "'pay_00' || printf('%024d', n)"
_TABLES: Mapping[str, Mapping[str, Mapping[str, str]]] = {
    "order": {
        "orders": {"id": _ORDER, "idempotency_key": "'stored-' || n"},
        "order_steps": {"order_id": _ORDER},
    },
    "payment": {
        "payments": {"transaction_id": _PAYMENT, "payment_key": _ORDER},
        "ledger": {"entry_id": "NULL", "transaction_id": _PAYMENT},
        "card_network_charges": {"payment_key": _ORDER, "reference": "'net_00' || printf('%024d', n)"},
    },
    "inventory": {"reservations": {"id": _ORDER}},
}
"""By service and table: the columns that a copy has for itself, as expressions of its number `n`."""
_PATTERN = {
    "orders": "id = :order",
    "order_steps": "order_id = :order",
    "payments": "payment_key = :order",
    "ledger": "transaction_id = (SELECT transaction_id FROM payments WHERE payment_key = :order)",
    "card_network_charges": "payment_key = :order",
    "reservations": "id = :order",
}


def fill(data: Path, order_id: str, first: int, last: int) -> None:
    """Copy the order with this id, which is final, with all its rows in all databases, as numbers `first` to `last`."""
    for service, tables in _TABLES.items():
        with closing(sqlite3.connect(data / f"{service}.sqlite", timeout=30, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=OFF")
            connection.execute("PRAGMA cache_size=-200000")
            for begin in range(first, last + 1, _CHUNK):
                connection.execute("BEGIN IMMEDIATE")
                for table, own in tables.items():
                    numbers = {"first": begin, "last": min(begin + _CHUNK - 1, last), "order": order_id}
                    connection.execute(_copying(connection, table, own), numbers)
                connection.execute("COMMIT")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # otherwise the disk still writes the copies while the requests are timed
        with (data / f"{service}.sqlite").open("rb") as written:
            os.fsync(written.fileno())


def copy_messages(data: Path, wanted: int) -> None:
    """Copy what waits in the order service's outbox until there are so many messages, each under an id of its own."""
    with closing(sqlite3.connect(data / "order.sqlite", timeout=30)) as connection, connection:
        there = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
        if not there:
            raise SystemExit("no message waits: nothing can be copied")
        own = {"id": "NULL", "message_id": "message_id || '-' || n"}
        names = [row[1] for row in connection.execute("PRAGMA table_info(outbox)")]
        columns = ", ".join(own.get(name, name) for name in names)
        connection.execute(
            f"WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
            f"INSERT INTO outbox SELECT {columns} FROM numbers, (SELECT * FROM outbox ORDER BY id LIMIT 1)",
            {"first": there + 1, "last": wanted},
        )


def waiting(data: Path) -> int:
    """Messages in the order service's outbox."""
    with closing(sqlite3.connect(data / "order.sqlite", timeout=30)) as connection:
        count: int = connection.execute("SELECT count(*) FROM outbox").fetchone()[0]
    return count


def size(data: Path, service: str) -> float:
    """Megabytes of a service's database, its log of writes with it."""
    return sum(file.stat().st_size for file in data.glob(f"{service}.sqlite*")) / 1e6


def _copying(connection: sqlite3.Connection, table: str, own: Mapping[str, str]) -> str:
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    quoted = [f'"{name}"' for name in names]
    columns = ", ".join(own.get(name, f'pattern."{name}"') for name in names)
    return (
        "WITH RECURSIVE numbers(n) AS (SELECT :first UNION ALL SELECT n + 1 FROM numbers WHERE n < :last) "
        f"INSERT INTO {table} ({', '.join(quoted)}) SELECT {columns} "
        f"FROM numbers, (SELECT * FROM {table} WHERE {_PATTERN[table]}) AS pattern"
    )
