"""What the control room's page costs: the first view, one viewer at rest, and twenty while orders come in.

    python -m tests.bench.bench_page [--pairs 6] [--seconds 5] [--viewers 20]

Run it by `make bench-page`. One stack as `make up` has it. Viewers are logged in and ask as often as the page's script
does. The bars are on processor time, of the page and of the platform, which hardly depends on who else uses the
machine: what twenty viewers take of it, orders cannot have. Throughput is told, too, in rounds with and without viewers
by turns; on a busy machine its pairs differ by more than there is to see.
"""

import argparse
import asyncio
import contextlib
import itertools
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil

from infra.local.harness import running_stack
from infra.local.page import PROGRAM
from infra.local.stack import LocalStack
from tests.bench.bench_order_path import say
from tests.bench.bench_telemetry import load

AGAIN_SECONDS = 1.0
REST_SECONDS = 10.0
IDLE_BAR, VIEWERS_BAR, FIRST_VIEW_BAR = 0.02, 0.05, 2.0


def cpu(stack: LocalStack) -> dict[str, float]:
    """CPU seconds of each process since it started."""
    seconds = {}
    for program in stack.status():
        for name, pid in stack.pids(program.name).items():
            times = psutil.Process(pid).cpu_times()
            seconds[name] = times.user + times.system
    return seconds


async def watch(session: aiohttp.ClientSession, url: str) -> None:
    """One viewer, for ever."""
    since = 0
    while True:
        async with session.get(f"{url}/view", params={"since": str(since)}) as answer:
            if answer.status == 200:
                since = (await answer.json())["number"]
        await asyncio.sleep(AGAIN_SECONDS)


@contextlib.asynccontextmanager
async def viewers(stack: LocalStack, number: int) -> AsyncIterator[None]:
    """So many of them, logged in."""
    jar = aiohttp.CookieJar(unsafe=True)  # cookies of an address, not a name
    async with aiohttp.ClientSession(cookie_jar=jar, connector=aiohttp.TCPConnector(limit=number or 1)) as session:
        login = {"token": stack.secret("operator", "admin_token")}
        async with session.post(f"{stack.url('page')}/session", json=login, headers={"x-control-room": "1"}) as answer:
            answer.raise_for_status()
        watching = [asyncio.create_task(watch(session, stack.url("page"))) for _ in range(number)]
        try:
            yield
        finally:
            for each in watching:
                each.cancel()
            await asyncio.gather(*watching, return_exceptions=True)


async def first_view(url: str) -> float:
    """Seconds from the first request to the first numbers, without what a browser takes to draw."""
    began = time.perf_counter()
    async with aiohttp.ClientSession() as session:
        for path in ("/", "/static/style.css", "/static/main.js", "/facts", "/view"):
            async with session.get(f"{url}{path}") as answer:
                answer.raise_for_status()
                await answer.read()
    return time.perf_counter() - began


async def at_rest(stack: LocalStack, number: int) -> dict[str, float]:
    """CPU seconds a second of each process while nobody orders and so many watch."""
    async with viewers(stack, number):
        await asyncio.sleep(6)  # who watched before is forgotten, who watches now has begun
        before, began = await asyncio.to_thread(cpu, stack), time.perf_counter()
        await asyncio.sleep(REST_SECONDS)
        after, elapsed = await asyncio.to_thread(cpu, stack), time.perf_counter() - began
    return {name: (after[name] - before[name]) / elapsed for name in before}


async def pace(stack: LocalStack, number: int, seconds: float) -> float:
    """Orders a second with so many viewers."""
    async with viewers(stack, number):
        return (await load(stack.url("order"), seconds, 8))[1]


async def compare(stack: LocalStack, wanted: argparse.Namespace) -> list[float]:
    """Throughput with viewers over throughput without, a pair each."""
    await pace(stack, 0, wanted.seconds)
    ratios = []
    turns = itertools.islice(itertools.cycle([(wanted.viewers, 0), (0, wanted.viewers)]), wanted.pairs)
    for number, order in enumerate(turns):
        found = {each: await pace(stack, each, wanted.seconds) for each in order}
        ratios.append(found[wanted.viewers] / found[0])
        say(f"pair {number + 1}: {found[wanted.viewers]:5.1f}/s watched, {found[0]:5.1f}/s not, {ratios[-1]:.2f}")
    return ratios


async def measure(stack: LocalStack, wanted: argparse.Namespace) -> bool:
    """Everything, printed; whether the bars are met."""
    first = await first_view(stack.url("page"))
    rests = {number: await at_rest(stack, number) for number in (0, 1, wanted.viewers)}
    say(f"first view: {first:.2f} s; bar {FIRST_VIEW_BAR} s")
    for number, rest in rests.items():
        others = sum(rest.values()) - rest[PROGRAM]
        say(f"at rest, {number:2} viewers: page {rest[PROGRAM]:.1%} of a core, the rest of the platform {others:.1%}")
    more = (sum(rests[wanted.viewers].values()) - sum(rests[0].values())) / (os.cpu_count() or 1)
    say(f"{wanted.viewers} viewers take {more:.1%} of the machine's processor time; bar {VIEWERS_BAR:.0%}")
    ratios = await compare(stack, wanted)
    median = statistics.median(ratios)
    resident = psutil.Process(stack.pids(PROGRAM)[PROGRAM]).memory_info().rss / 1e6
    say(f"{wanted.viewers} viewers: throughput x {median:.2f}, pairs {min(ratios):.2f} to {max(ratios):.2f}")
    say(f"the page has {resident:.0f} MB")
    say(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    return first <= FIRST_VIEW_BAR and rests[1][PROGRAM] < IDLE_BAR and more < VIEWERS_BAR


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--pairs", type=int, default=8)
    arguments.add_argument("--seconds", type=float, default=5.0, help="of a round, three at least")
    arguments.add_argument("--viewers", type=int, default=20)
    wanted = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory() as directory,
        running_stack(Path(directory) / "stack", traces="on", prometheus="on", page="on") as stack,
    ):
        return 0 if asyncio.run(measure(stack, wanted)) else 1


if __name__ == "__main__":
    sys.exit(main())
