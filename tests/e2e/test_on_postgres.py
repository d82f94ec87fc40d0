"""The same platform on a real Postgres, which is killed, and restarted in order, while orders come in."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import customers, order_body, statuses, write_answers
from tests.e2e.settling import until_settled

pytestmark = pytest.mark.slow

ORDERS, AT_ONCE = 120, 8


@pytest.fixture
def stack(passable_directory: Path) -> Iterator[LocalStack]:
    with running_stack(passable_directory / ".local", database="postgres") as stack:
        yield stack


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
