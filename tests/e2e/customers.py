"""Customers of a running platform: they repeat a request with its key until it is answered, as good clients do."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000002"
_TRY_AGAIN = frozenset((408, 429, 500, 502, 503, 504))


@dataclass(slots=True)
class Answer:
    """What a customer heard in the end, and how long the last try took."""

    key: str
    status: int
    body: dict[str, Any]
    seconds: float
    tries: int = 1
    asked_seconds: float = 0.0  # Retry-After of who has too much load
    at: float = field(default_factory=time.time)


def order_body(sku: str = "mug-enamel", quantity: int = 1, card: str = GOOD_CARD) -> dict[str, Any]:
    return {
        "customer": "ada",
        "currency": "EUR",
        "items": [{"sku": sku, "quantity": quantity}],
        "payment_method": {"type": "card", "number": card},
    }


class Customers:
    """Places orders over HTTP."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url, self._session = url, session

    async def once(self, key: str, body: dict[str, Any]) -> Answer:
        """One try. Raises `aiohttp.ClientError` or `TimeoutError` when there is no answer."""
        started = time.perf_counter()
        async with self._session.post(f"{self.url}/orders", json=body, headers={"Idempotency-Key": key}) as response:
            content = await response.json(content_type=None)
            overloaded = content.get("type") == "/problems/overloaded"
            asked = float(response.headers.get("Retry-After", 0)) if overloaded else 0.0
        return Answer(key, response.status, content, time.perf_counter() - started, asked_seconds=asked)

    async def place(self, key: str, body: dict[str, Any], *, patience: float = 60.0) -> Answer:
        """Try until there is an answer that is not "try again"."""
        give_up, tries = time.monotonic() + patience, 0
        while True:
            tries += 1
            try:
                answer = await self.once(key, body)
            except (aiohttp.ClientError, TimeoutError):
                answer = None
            if answer is not None and not _asks_to_try_again(answer):
                answer.tries = tries
                return answer
            if time.monotonic() > give_up:
                raise TimeoutError(f"{key}: no answer after {tries} tries, the last: {answer}")
            await asyncio.sleep(random.uniform(0.1, 0.6) + (answer.asked_seconds if answer else 0.0))

    async def get(self, path: str) -> dict[str, Any]:
        async with self._session.get(f"{self.url}{path}") as response:
            response.raise_for_status()
            return await response.json()

    async def count(self, state: str) -> int:
        page = await self.get(f"/orders?state={state}&limit=200")
        return len(page["items"])


def _asks_to_try_again(answer: Answer) -> bool:
    return answer.status in _TRY_AGAIN or answer.body.get("type") == "/problems/request-in-progress"


@asynccontextmanager
async def customers(url: str, *, seconds: float = 30.0) -> AsyncIterator[Customers]:
    connector = aiohttp.TCPConnector(limit=0, force_close=False)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=seconds)) as session:
        yield Customers(url, session)


def percentile(values: Iterable[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def statuses(answers: Iterable[Answer]) -> Counter[int]:
    return Counter(answer.status for answer in answers)


def write_answers(path: Path, answers: Iterable[Answer]) -> Path:
    """The file that the auditor compares with the databases."""
    with path.open("w") as file:
        for answer in answers:
            if answer.status in (201, 202):
                line = {"id": answer.body["id"], "status": answer.status, "state": answer.body["state"]}
                file.write(json.dumps({**line, "time": answer.at, "idempotency_key": answer.key}) + "\n")
    return path
