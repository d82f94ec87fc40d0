"""What one hop through Envoy adds: the same request straight to a replica and through the mesh, in turns.

    python -m tests.bench.bench_mesh [--requests 4000] [--rounds 5]

Run it by `make bench-mesh`. One connection, one request at a time, so that what is measured is the way and not a queue.
The two ways take turns of fifty requests: whatever else the machine does, it does to both.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from infra.local.harness import running_stack
from infra.local.stack import LocalStack

TURN = 50
WAYS = {
    "edge -> order": ("order", "order-1", "/info"),
    "order -> payment": ("payment-v2", "payment-v2-1", "/test-cards"),
    "order -> inventory": ("inventory", "inventory-1", "/products/mug-enamel"),
}
"""Each hop: the address through Envoy, the replica behind it, and what is asked."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=4_000, help="each way, a hop and round")
    parser.add_argument("--rounds", type=int, default=3)
    wanted = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        running_stack(Path(directory) / ".local", mesh="envoy") as stack,
    ):
        sys.stdout.write(
            f"{'hop':<22}{'direct':>10}{'Envoy':>10}{'added':>10}{'p99 direct':>12}{'p99 Envoy':>12}   ms\n"
        )
        for hop, (service, replica, path) in WAYS.items():
            urls = stack.url(replica) + path, stack.url(service) + path
            rounds = [asyncio.run(_measure(*urls, wanted.requests)) for _ in range(wanted.rounds)]
            _row(hop, rounds)
        _memory(stack)


async def _measure(direct: str, meshed: str, requests: int) -> tuple[list[float], list[float]]:
    """Seconds of each request, straight and through Envoy."""
    taken: dict[str, list[float]] = {direct: [], meshed: []}
    connector = aiohttp.TCPConnector(limit=1, limit_per_host=1)
    async with aiohttp.ClientSession(connector=connector) as first, aiohttp.ClientSession() as second:
        sessions = {direct: first, meshed: second}
        for _ in range(max(1, requests // TURN)):
            for url, session in sessions.items():
                for _ in range(TURN):
                    began = time.perf_counter()
                    async with session.get(url) as answer:
                        await answer.read()
                        answer.raise_for_status()
                    taken[url].append(time.perf_counter() - began)
    return taken[direct], taken[meshed]


def _row(hop: str, rounds: list[tuple[list[float], list[float]]]) -> None:
    direct = statistics.median(statistics.median(each) for each, _ in rounds)
    meshed = statistics.median(statistics.median(each) for _, each in rounds)
    tails = [statistics.median(_p99(each[way]) for each in rounds) for way in (0, 1)]
    numbers = [direct, meshed, meshed - direct]
    cells = "".join(f"{1000 * value:10.3f}" for value in numbers) + "".join(f"{1000 * value:12.3f}" for value in tails)
    sys.stdout.write(f"{hop:<22}{cells}\n")


def _p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _memory(stack: LocalStack) -> None:
    for program in stack.status():
        if program.name == "envoy":
            sys.stdout.write(f"Envoy, resident: {program.resident / 1e6:.0f} MB\n")


if __name__ == "__main__":
    main()
