"""Far more spans than the platform makes: 10,000 a second for ten seconds."""

import asyncio
import os
import time
from dataclasses import dataclass, field

import aiohttp
import psutil

from tests.integration.control_room.room import request, span

RATE, SECONDS = 10_000, 10
_BATCH, _OF_A_TRACE = 250, 25


@dataclass(slots=True)
class Flood:
    """How it went. Bytes and seconds."""

    statuses: list[int] = field(default_factory=list)
    health: list[float] = field(default_factory=list)
    peak: int = 0


async def flood(url: str, token: str, pid: int) -> Flood:
    """Send them at that rate, and ask meanwhile how the receiver is."""
    went, bodies = Flood(), [_batch() for _ in range(RATE * SECONDS // _BATCH)]
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    began = time.monotonic()

    async def send(number: int, body: bytes) -> None:
        await asyncio.sleep(max(0.0, began + number * _BATCH / RATE - time.monotonic()))
        async with session.post(f"{url}/v1/traces", data=body, headers=headers) as response:
            went.statuses.append(response.status)

    async def watch() -> None:
        process = psutil.Process(pid)
        while True:
            asked = time.monotonic()
            async with session.get(f"{url}/health/ready") as response:
                response.raise_for_status()
            went.health.append(time.monotonic() - asked)
            went.peak = max(went.peak, process.memory_info().rss)
            await asyncio.sleep(0.1)

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
        watching = asyncio.create_task(watch())
        await asyncio.gather(*(send(number, body) for number, body in enumerate(bodies)))
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    return went


def _batch() -> bytes:
    made = []
    text = {"key": "db.query.text", "value": {"stringValue": "INSERT INTO orders VALUES (?, ?, ?)"}}
    for _ in range(_BATCH // _OF_A_TRACE):
        trace_id = os.urandom(16).hex()
        made += [
            span(trace_id, f"{n + 1:016x}", f"{1:016x}" if n else "", name="INSERT orders", attributes=[text])
            for n in range(_OF_A_TRACE)
        ]
    return request(*made)
