"""The same platform on a real Postgres, which is killed, and restarted in order, while orders come in."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from infra.local import secrets
from infra.local.harness import running_stack
from infra.local.settings import MODULES
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, customers, order_body, statuses, write_answers
from tests.e2e.settling import until_settled

pytestmark = pytest.mark.slow

ORDERS, AT_ONCE = 120, 8


OWN = "userid::regrole::text = quote_ident(current_database())"
"""What a service itself has asked: each has one role, one database, one name for both."""


WHOLE = {
    "outbox": "what is not sent yet, for its gauges",
    "products": "the stock of the catalogue, for its gauges",
}
"""Tables that are read whole, and what for."""


@pytest.fixture(scope="module")
def stack(passable_directory: Path) -> Iterator[LocalStack]:
    with running_stack(passable_directory / ".local", database="postgres") as stack:
        yield stack


@asynccontextmanager
async def superuser(stack: LocalStack, database: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(
        host="127.0.0.1",
        port=stack.settings.postgres_port,
        user="postgres",
        password=secrets.read(stack.state, "postgres", "password"),
        database=database,
        timeout=10,
    )
    try:
        yield connection
    finally:
        await connection.close(timeout=5)


async def generic_plan(connection: Any, query: str) -> str:
    """How a statement is answered whatever its values are. Statistics know constants no more: `HELD` has an index."""
    query = re.sub(r"\.state = \$\d+\b(?!::)", ".state = 'HELD'", query)
    left = sorted({int(n) for n in re.findall(r"\$(\d+)", query)})
    query = re.sub(r"\$(\d+)", lambda found: f"${left.index(int(found[1])) + 1}", query)
    await connection.execute(f"PREPARE asked AS {query}")
    given = f"({', '.join(['NULL'] * len(left))})" if left else ""
    lines = await connection.fetch(f"EXPLAIN EXECUTE asked{given}")
    await connection.execute("DEALLOCATE asked")
    return "\n".join(line[0] for line in lines)


async def scale_payment(stack: LocalStack, replicas: int) -> None:
    for version in ("payment", "payment-v2"):
        await asyncio.to_thread(stack.scale, version, replicas)


async def test_every_statement_of_a_service_can_be_answered_from_an_index(stack: LocalStack) -> None:
    async with superuser(stack, "postgres") as server:
        await server.execute("ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'")
    await asyncio.to_thread(stack.restart, "postgres")
    async with customers(stack.url("order")) as crowd, aiohttp.ClientSession() as session:
        placed = await asyncio.gather(*(crowd.place(f"plan-{n}", order_body()) for n in range(20)))
        declined = await crowd.place("plan-declined", order_body(card=DECLINED_CARD))
        assert (set(statuses(placed)), declined.status) == ({201}, 402)
        await scale_payment(stack, 0)
        queued = await asyncio.gather(*(crowd.place(f"plan-queued-{n}", order_body()) for n in range(5)))
        assert 202 in statuses(queued)
        await scale_payment(stack, 1)
        for path in ("", "?state=CONFIRMED&limit=5", f"/{placed[0].body['id']}"):
            async with session.get(f"{stack.url('order')}/orders{path}") as answer:
                assert answer.status == 200
        await until_settled(crowd, seconds=60)
    asked, whole = 0, []
    for module in MODULES:
        async with superuser(stack, module) as connection:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
            seen = await connection.fetch(f"SELECT DISTINCT query FROM pg_stat_statements WHERE {OWN}")
            await connection.execute("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
            for (query,) in seen:
                if not re.match(r"(WITH|SELECT|UPDATE|DELETE|INSERT)\b", query):
                    continue
                asked += 1
                plan = await generic_plan(connection, query)
                if any(each not in WHOLE for each in re.findall(r"Seq Scan on (\w+)", plan)):
                    whole.append(f"{module}: {query}\n{plan}")
    assert asked > 30, asked
    assert not whole, "\n\n".join(whole)


async def test_orders_survive_a_database_server_that_is_killed_and_one_that_is_restarted(
    stack: LocalStack, tmp_path: Path
) -> None:
    answers = []
    async with customers(stack.url("order")) as crowd:
        rest = iter(range(ORDERS))

        async def customer() -> None:
            for n in rest:
                answers.append(await crowd.place(f"postgres-{n}", order_body()))
                if len(answers) == ORDERS // 3:
                    await asyncio.to_thread(stack.kill, "postgres", "KILL")
                if len(answers) == 2 * ORDERS // 3:
                    await asyncio.to_thread(stack.restart, "postgres")

        await asyncio.gather(*(customer() for _ in range(AT_ONCE)))
        await until_settled(crowd, seconds=60)
    assert len(answers) == ORDERS
    assert set(statuses(answers)) <= {201, 202}
    audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
