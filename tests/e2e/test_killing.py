"""Every part is killed at random while orders come in: nothing is lost, nothing is charged twice."""

import asyncio
import random
import time
from pathlib import Path

import pytest

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, GOOD_CARD, Answer, Customers, customers, order_body, write_answers
from tests.e2e.settling import until_settled

ORDERS, AT_ONCE, SEED = 2_000, 24, 20_261
VICTIMS = ("order-1", "order-2", "payment-1", "payment-2", "inventory-1", "nats")
RECOVERY_LIMIT_SECONDS = 60.0


async def _shop(crowd: Customers, chance: random.Random) -> list[Answer]:
    wanted = [
        (f"kill-{n}", order_body(quantity=chance.randint(1, 3), card=chance.choice([GOOD_CARD] * 9 + [DECLINED_CARD])))
        for n in range(ORDERS)
    ]
    rest = iter(wanted)
    answers: list[Answer] = []

    async def customer() -> None:
        for key, body in rest:
            answers.append(await crowd.place(key, body, patience=90))

    await asyncio.gather(*(customer() for _ in range(AT_ONCE)))
    return answers


async def _kill(stack: LocalStack, chance: random.Random, stop: asyncio.Event) -> int:
    kills = 0
    while not stop.is_set():
        await asyncio.to_thread(stack.kill, chance.choice(VICTIMS), "KILL")
        kills += 1
        try:
            await asyncio.wait_for(stop.wait(), chance.uniform(0.5, 3.0))
        except TimeoutError:
            continue
    return kills


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_thousand_orders_survive_random_kills_of_every_part(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    replicas = {"replicas_order": 2, "replicas_payment": 2}
    with running_stack(tmp_path / ".local", **replicas) as stack:
        async with customers(stack.url("order")) as crowd:
            stop = asyncio.Event()
            killer = asyncio.create_task(_kill(stack, chance, stop))
            try:
                answers = await _shop(crowd, random.Random(SEED + 1))
            finally:
                stop.set()
                kills = await killer
            last_kill = time.monotonic()
            await until_settled(crowd, seconds=RECOVERY_LIMIT_SECONDS)
            took = time.monotonic() - last_kill
        assert len(answers) == ORDERS
        assert kills >= 10
        assert took <= RECOVERY_LIMIT_SECONDS
        audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
