"""Every part is killed at random while orders come in: nothing is lost, nothing is charged twice."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from infra.local.errors import StackError
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, GOOD_CARD, Answer, Customers, customers, order_body, write_answers
from tests.e2e.settling import until_settled

ORDERS, ORDERS_A_KILL, AT_ONCE, SEED = 2_000, 110, 24, 20_261
VICTIMS = ("order-1", "order-2", "payment-1", "payment-2", "inventory-1", "nats")
RECOVERY_LIMIT_SECONDS = 60.0


async def _shop(crowd: Customers, chance: random.Random, kill: Callable[[], Awaitable[None]]) -> list[Answer]:
    """All orders, `AT_ONCE` at a time; something is killed each time that so many more are answered."""
    wanted = [
        (f"kill-{n}", order_body(quantity=chance.randint(1, 3), card=chance.choice([GOOD_CARD] * 9 + [DECLINED_CARD])))
        for n in range(ORDERS)
    ]
    rest = iter(wanted)
    answers: list[Answer] = []

    async def customer() -> None:
        for key, body in rest:
            answers.append(await crowd.place(key, body, patience=90))
            if len(answers) % ORDERS_A_KILL == 0:
                await kill()

    await asyncio.gather(*(customer() for _ in range(AT_ONCE)))
    return answers


def _victims(chance: random.Random) -> Iterator[str]:
    """Round after round, each part once, in an order that changes."""
    while True:
        yield from chance.sample(VICTIMS, len(VICTIMS))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with running_stack(tmp_path / ".local", replicas_order=2, replicas_payment=2) as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_thousand_orders_survive_random_kills_of_every_part(stack: LocalStack, tmp_path: Path) -> None:
    killed: list[tuple[float, str]] = []
    victims = _victims(random.Random(SEED))

    async def kill() -> None:
        victim = next(victims)
        with suppress(StackError):  # it is still on its way up after the last time
            await asyncio.to_thread(stack.kill, victim, "KILL")
            killed.append((time.monotonic(), victim))

    async with customers(stack.url("order")) as crowd:
        answers = await _shop(crowd, random.Random(SEED + 1), kill)
        await until_settled(crowd, seconds=RECOVERY_LIMIT_SECONDS)
        took = time.monotonic() - killed[-1][0]
    assert len(answers) == ORDERS
    assert {victim for _, victim in killed} == set(VICTIMS)
    assert took <= RECOVERY_LIMIT_SECONDS
    audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
