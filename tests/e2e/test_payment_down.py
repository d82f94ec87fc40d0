"""Payment is away for half a minute while orders keep coming: every one is taken, and every one settles."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from tests.e2e.conftest import audit
from tests.e2e.customers import Answer, Customers, customers, order_body, percentile, statuses, write_answers
from tests.e2e.settling import until_settled

DOWN_SECONDS, RATE = 30.0, 12.0
P99_SECONDS, SETTLE_SECONDS = 1.0, 30.0


async def _steady(crowd: Customers, name: str, seconds: float) -> list[tuple[float, Answer]]:
    """Orders at a fixed rate, whether or not earlier ones are answered: when each was sent, and its answer."""

    async def one(n: int) -> tuple[float, Answer]:
        await asyncio.sleep(n / RATE)
        sent = time.monotonic()
        return sent, await crowd.once(f"{name}-{n}", order_body())

    return list(await asyncio.gather(*(one(n) for n in range(int(seconds * RATE)))))


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[LocalStack]:
    with running_stack(tmp_path / ".local") as stack:
        yield stack


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_thirty_seconds_without_payment_lose_no_order(stack: LocalStack, tmp_path: Path) -> None:
    async with customers(stack.url("order")) as crowd:
        before = await _steady(crowd, "before", 3)
        down_at = time.monotonic()
        for version in ("payment", "payment-v2"):
            await asyncio.to_thread(stack.scale, version, 0)
        during = await _steady(crowd, "during", DOWN_SECONDS - (time.monotonic() - down_at))
        for version in ("payment", "payment-v2"):
            await asyncio.to_thread(stack.scale, version, 1)
        settled_in = await until_settled(crowd, seconds=SETTLE_SECONDS)
        after = await _steady(crowd, "after", 3)

    answers = [answer for _, answer in [*before, *during, *after]]
    assert set(statuses(answers)) <= {201, 202}
    assert statuses(a for _, a in during)[202] > 0.9 * len(during), "payment was not really away"
    opened = next(sent for sent, a in during if a.status == 202) + 3.0
    once_open = [answer.seconds for sent, answer in during if sent > opened]
    assert percentile(once_open, 0.99) <= P99_SECONDS
    assert settled_in <= SETTLE_SECONDS
    audit(stack, answers=write_answers(tmp_path / "answers.jsonl", answers))
