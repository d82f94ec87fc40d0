"""The ledger and the schema, as the database itself defends them."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.payment import ledger
from services.payment.ledger import Kind
from services.payment.tables import metadata
from shared.chassis.database import Database
from shared.chassis.migrations import migrate
from tests.integration.payment.till import MIGRATIONS, Till, charge

_COLUMNS = "entry_id, transaction_id, kind, debit_account, credit_account, amount, currency, recorded_at"


async def _execute(database: Database, statement: str) -> None:
    async with database.write() as connection:
        await connection.execute(text(statement))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE ledger SET amount = 1",
        "UPDATE ledger SET debit_account = 'mine' WHERE kind = 'capture'",
        "DELETE FROM ledger",
        "DELETE FROM ledger WHERE kind = 'refund'",
    ],
)
async def test_an_entry_is_neither_changed_nor_removed(till: Till, statement: str) -> None:
    payment = await till.payments.process(charge())
    await till.payments.refund("order-1", "late")

    with pytest.raises(DBAPIError, match="append-only"):
        await _execute(till.database, statement)
    async with till.database.read() as connection:
        entries = await connection.run_sync(ledger.entries, payment.transaction_id)
    assert [(entry.kind, entry.amount) for entry in entries] == [("capture", 1299), ("refund", 1299)]


async def test_an_entry_is_not_replaced_by_the_ways_that_one_engine_has_besides(till: Till) -> None:
    await till.payments.process(charge())
    way_round = (
        f"INSERT OR REPLACE INTO ledger ({_COLUMNS}) SELECT entry_id, transaction_id, kind, debit_account,"
        " credit_account, 1, currency, recorded_at FROM ledger"
        if till.database.is_sqlite
        else "TRUNCATE ledger"
    )

    with pytest.raises(DBAPIError, match="append-only"):
        await _execute(till.database, way_round)


async def test_a_second_capture_of_one_transaction_is_refused_by_the_database(till: Till) -> None:
    payment = await till.payments.process(charge())

    async def enter_again() -> None:
        async with till.database.write() as connection:
            await connection.run_sync(
                ledger.record,
                Kind.CAPTURE,
                transaction_id=payment.transaction_id,
                amount=1299,
                currency="EUR",
                now=payment.updated_at,
            )

    with pytest.raises(IntegrityError):
        await enter_again()


@pytest.mark.parametrize(
    ("amount", "debit", "credit"), [(0, "sales", "mine"), (-5, "sales", "mine"), (5, "sales", "sales")]
)
async def test_an_entry_that_moves_nothing_is_refused(till: Till, amount: int, debit: str, credit: str) -> None:
    payment = await till.payments.process(charge())

    with pytest.raises(IntegrityError):
        await _execute(
            till.database,
            "INSERT INTO ledger (transaction_id, kind, debit_account, credit_account, amount, currency, recorded_at)"
            f" VALUES ('{payment.transaction_id}', 'refund', '{debit}', '{credit}', {amount}, 'EUR', 0)",
        )


async def test_an_entry_for_a_payment_that_does_not_exist_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        await _execute(
            database,
            "INSERT INTO ledger (transaction_id, kind, debit_account, credit_account, amount, currency, recorded_at)"
            " VALUES ('pay_nobody', 'capture', 'card_network_receivable', 'sales', 5, 'EUR', 0)",
        )


async def test_the_lines_of_the_ledger_balance_in_every_currency(till: Till) -> None:
    await till.payments.process(charge("order-1", 1299, "EUR"))
    await till.payments.process(charge("order-2", 700, "JPY"))
    await till.payments.refund("order-1", "late")

    async with till.database.read() as connection:
        rows = await connection.execute(
            text("SELECT currency, account, sum(debit), sum(credit) FROM ledger_lines GROUP BY currency, account")
        )
        sums = {(currency, account): (int(debit), int(credit)) for currency, account, debit, credit in rows}
        owed = await connection.run_sync(ledger.owed_by_network)
    assert sums == {
        ("EUR", "card_network_receivable"): (1299, 1299),
        ("EUR", "sales"): (1299, 1299),
        ("JPY", "card_network_receivable"): (700, 0),
        ("JPY", "sales"): (0, 700),
    }
    assert owed == {"EUR": 0, "JPY": 700}


async def test_the_migrations_make_the_tables_that_the_code_describes(database: Database) -> None:
    async with database.write() as connection:
        differences = await connection.run_sync(
            lambda sync: compare_metadata(MigrationContext.configure(sync, opts={"compare_type": True}), metadata)
        )
    assert differences == []


async def test_migrating_again_changes_nothing(till: Till) -> None:
    payment = await till.payments.process(charge())

    assert await migrate(till.database, MIGRATIONS) == "0001"
    assert await till.payments.by_key("order-1") == payment
