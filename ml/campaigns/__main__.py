"""`python -m ml.campaigns --hours 1 --seed 7 --out .local/ml/recorded`: record a campaign on a stack of its own."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import httpx
import structlog
from httpx_aiohttp import HttpxAiohttpClient

from infra.load.customer import Customer
from infra.load.orders import KNOWN_PRODUCTS, OrderMaker, live_catalogue
from ml.campaigns.faults import Ground, play
from ml.campaigns.load import Traffic, drive
from ml.campaigns.platform import Layout, Platform, running, workplace
from ml.campaigns.recorder import Diary, record
from ml.campaigns.schedule import draw
from ml.features.prometheus import Prometheus
from ml.features.signals import Scale

log = structlog.get_logger()

_WARM_UP_SECONDS = 40.0
_STRETCH_SECONDS = 900.0
"""Every so often what was seen is written down, so that a campaign that is cut short loses little."""


def main() -> int:
    """Record; 0 when the whole time was recorded, 130 when it was interrupted."""
    chosen = _parse()
    chosen.out.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.nice(-chosen.priority)  # a campaign whose machine is busy with something else records that, too
    try:
        asyncio.run(_campaign(chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    return 0


async def _campaign(chosen: argparse.Namespace) -> None:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        for interruption in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(interruption, task.cancel)
    scale = Scale(minute=chosen.minute, memory_bytes=chosen.memory_mb * 2**20)
    random = Random(chosen.seed)  # noqa: S311 - a campaign is to be repeatable, not secret
    with workplace("campaign") as directory:
        layout = Layout(directory / "stack", chosen.first_port, chosen.memory_mb)
        async with (
            HttpxAiohttpClient(timeout=10, trust_env=False) as client,
            running(layout, client) as platform,
            _customers(platform, client, chosen, random) as traffic,
        ):
            await asyncio.sleep(_WARM_UP_SECONDS)
            until = time.monotonic() + chosen.hours * 3600
            number = 0
            while time.monotonic() < until:
                number += 1
                run = f"{chosen.name}-{chosen.seed}-{number:03d}"
                left = min(_STRETCH_SECONDS, until - time.monotonic())
                await _stretch(run, left, Ground(platform, traffic, scale), random, chosen.out, client)


@contextlib.asynccontextmanager
async def _customers(
    platform: Platform, client: httpx.AsyncClient, chosen: argparse.Namespace, random: Random
) -> AsyncIterator[Traffic]:
    products = await live_catalogue(client, platform.inventory) or KNOWN_PRODUCTS
    sources = [Random(random.random()) for _ in range(4)]  # noqa: S311
    traffic = Traffic(chosen.rate, sources[0], day_seconds=1440 * chosen.minute)
    customer = Customer(client, platform.edge, sources[1], attempts=2, timeout=8)
    maker = OrderMaker(products, sources[2], declining_share=0.03)
    run = f"campaign-{chosen.seed}-{time.time_ns():x}"
    task = asyncio.create_task(drive(traffic, customer, maker, sources[3], run=run))
    try:
        yield traffic
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _stretch(
    run: str, seconds: float, ground: Ground, random: Random, out: Path, client: httpx.AsyncClient
) -> None:
    """Episodes until the time is over, then the record of it."""
    start = time.time()
    diary = Diary(start, ground.scale)
    began = time.monotonic()
    try:
        while time.monotonic() - began < seconds:
            episode = draw(random)
            await asyncio.sleep(ground.scale.seconds(episode.quiet))
            moment = time.time()
            log.info("episode", run=run, kind=episode.kind.name, service=episode.service, minutes=round(episode.ramp))
            try:
                await play(episode, ground)
            finally:
                diary.played(moment, time.time(), episode)
        await asyncio.sleep(ground.scale.seconds(35))
    finally:
        minutes = int((time.time() - start) // ground.scale.minute)
        prometheus = Prometheus(client, ground.platform.prometheus)
        path = await asyncio.shield(
            record(prometheus, ground.scale, run=run, start=start, told=diary.minutes(minutes), directory=out)
        )
        log.info("recorded", run=run, minutes=minutes, path=str(path))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.campaigns", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="for how long, by the wall clock")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--name", default="campaign", help="what the files are called")
    parser.add_argument("--out", type=Path, default=Path(".local/ml/recorded"))
    parser.add_argument("--minute", type=float, default=1.0, help="seconds that count as a minute (default 1)")
    parser.add_argument("--rate", type=float, default=8.0, help="orders a second, about")
    parser.add_argument("--memory-mb", type=int, default=220, help="what a service process may hold")
    parser.add_argument("--first-port", type=int, default=18_000, help="of a block of 100")
    parser.add_argument(
        "--priority",
        type=int,
        default=0,
        help="raise the priority by so much; in vain under autogroups",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
