"""Every part is killed at random while orders come in: nothing is lost, nothing is charged twice."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from infra.local.errors import StackError
from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, GOOD_CARD, Answer, Customers, customers, order_body, write_answers
from tests.e2e.settling import until_settled
from tests.fixtures.waiting import until

ORDERS, AT_ONCE, SEED = 2_000, 24, 20_261
VICTIMS = ("order-1", "order-2", "payment-1", "payment-2", "inventory-1", "nats")
AT_A_TIME, ORDERS_BETWEEN = 2, 250
RECOVERY_LIMIT_SECONDS = 60.0
# How fast orders recover is also how busy the machine is: the second, short wave measures it once more, if need be.
WAVES = (range(ORDERS), range(ORDERS, ORDERS + 3 * ORDERS_BETWEEN))


async def _shop(
    crowd: Customers, numbers: range, chance: random.Random, kill: Callable[[], Awaitable[None]]
) -> list[Answer]:
    """All these orders, `AT_ONCE` at a time; something is killed each time that `ORDERS_BETWEEN` more are answered.

    The last `2 * ORDERS_BETWEEN` come in peace: while they do, what the last ones killed had under way gets its time.
    """
    wanted = [
        (f"kill-{n}", order_body(quantity=chance.randint(1, 3), card=chance.choice([GOOD_CARD] * 9 + [DECLINED_CARD])))
        for n in numbers
    ]
    rest = iter(wanted)
    answers: list[Answer] = []

    async def customer() -> None:
        for key, body in rest:
            answers.append(await crowd.place(key, body, patience=180))
            if len(answers) % ORDERS_BETWEEN == 0 and len(answers) <= len(wanted) - 2 * ORDERS_BETWEEN:
                await kill()

    await asyncio.gather(*(customer() for _ in range(AT_ONCE)))
    return answers


def _victims(chance: random.Random) -> Iterator[list[str]]:
    """Round after round, each part once, `AT_A_TIME`, in an order that changes."""
    while True:
        shuffled = chance.sample(VICTIMS, len(VICTIMS))
        yield from (shuffled[first : first + AT_A_TIME] for first in range(0, len(VICTIMS), AT_A_TIME))


def _killed(stack: LocalStack, victim: str) -> bool:
    try:
        return bool(stack.kill(victim, "KILL"))
    except StackError:  # it is still on its way up after the last time
        return False


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with running_stack(tmp_path / ".local", replicas_order=2, replicas_payment=2) as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_two_thousand_orders_survive_random_kills_of_every_part(stack: LocalStack, tmp_path: Path) -> None:
    killed: list[tuple[float, str]] = []
    victims = _victims(random.Random(SEED))

    async def kill() -> None:
        for victim in next(victims):
            await asyncio.to_thread(until, partial(_killed, stack, victim))
            killed.append((time.monotonic(), victim))

    answers: list[Answer] = []
    took: list[float] = []
    async with customers(stack.url("order")) as crowd:
        for wave in WAVES:
            answers += await _shop(crowd, wave, random.Random(SEED + wave.start), kill)
            await until_settled(crowd, seconds=3 * RECOVERY_LIMIT_SECONDS)
            took.append(time.monotonic() - killed[-1][0])
            if took[-1] <= RECOVERY_LIMIT_SECONDS:
                break
    assert len(answers) >= ORDERS
    times = Counter(victim for _, victim in killed)
    assert min(times[victim] for victim in VICTIMS) >= 2
    assert took[-1] <= RECOVERY_LIMIT_SECONDS, f"final {took[0]:.0f} s after the last kill, then again {took[1]:.0f} s"
    audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
