"""`python -m ml.trial`: what acting on warnings is worth, on a stack of its own: minutes in a breach with and without.

Each pair plays the same leak twice, in an order drawn by lot: with the remediator in `auto` (and an operator who
approves what it asks), and in `shadow`. Then as long again without any fault, where nothing should be done. The last
line says whether the bar is met.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import httpx
import structlog
from httpx_aiohttp import HttpxAiohttpClient

from infra.load.customer import Customer
from infra.load.orders import KNOWN_PRODUCTS, OrderMaker, live_catalogue
from ml.campaigns.load import Traffic, drive
from ml.campaigns.platform import Layout, Platform, running, workplace
from ml.features.prometheus import Prometheus
from ml.features.signals import Scale
from ml.trial.leaks import KINDS, Leak
from ml.trial.outcome import (
    ACT,
    EDGE,
    LEAVE,
    NOTHING,
    Outcome,
    breach_minutes,
    done_since,
    first_warning,
)
from ml.trial.parts import answer_questions, predictor_environment, process, ready, remediator_words
from ml.trial.verdict import met, table, write

log = structlog.get_logger()

_QUIET, _FULL, _HOLD = 40.0, 45.0, 45.0
"""Minutes: before a leak begins, until a process has leaked everything, and after that."""

_SET_BACK_SECONDS = 240.0

_MODES = {ACT: "auto", LEAVE: "shadow", NOTHING: "auto"}
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(slots=True)
class Trial:
    """What an episode needs."""

    chosen: argparse.Namespace
    layout: Layout
    platform: Platform
    client: httpx.AsyncClient
    scale: Scale

    async def episode(self, pair: int, arm: str, kind: str, service: str) -> Outcome:
        """One episode on a platform that was set back before it."""
        await self._set_back(service)
        outcome = Outcome(pair, arm, kind if arm != NOTHING else "-", service)
        # its own for each, else the next remediator would take up what this one has left behind
        directory = self.layout.directory.parent / f"remediation-{pair}-{arm.replace(' ', '-')}"
        directory.mkdir()
        words = remediator_words(
            self.layout, self.platform.prometheus, self.chosen.policy, _MODES[arm], self.scale, directory
        )
        printed = self.chosen.out.parent / f"{self.chosen.out.stem}-logs/{directory.name}.log"
        printed.parent.mkdir(parents=True, exist_ok=True)
        async with process(words, self.layout.environment(), printed):
            await ready(self.client, f"http://127.0.0.1:{self.layout.remediation_port}/health/live")
            patience = self.scale.seconds(self.chosen.patience)
            operator = asyncio.create_task(answer_questions(self.client, self.layout, patience))
            try:
                await self._play(outcome, kind, directory / "audit.jsonl")
            finally:
                operator.cancel()
                await asyncio.wait([operator])
        log.info("episode", pair=pair, arm=arm, kind=kind, breach=outcome.breach, done=list(map(str, outcome.done)))
        return outcome

    async def _play(self, outcome: Outcome, kind: str, audit: Path) -> None:
        await asyncio.sleep(self.scale.seconds(_QUIET))
        began, started = time.time(), asyncio.get_running_loop().time()
        predictor = f"http://127.0.0.1:{self.layout.predictor_port}"
        warned = asyncio.create_task(first_warning(self.client, predictor, {EDGE, outcome.service}, self.scale))
        try:
            if outcome.arm == NOTHING:
                await asyncio.sleep(self.scale.seconds(_FULL + _HOLD))
            else:
                await Leak(self.platform, outcome.service, kind, _FULL, self.scale).drip(_FULL + _HOLD)
        finally:
            warned.cancel()
            await asyncio.wait([warned])
        if not warned.cancelled():
            outcome.warned = (warned.result() - started) / self.scale.minute
        prometheus = Prometheus(self.client, self.platform.prometheus)
        minutes = round(_FULL + _HOLD)
        outcome.breach, outcome.begins = await breach_minutes(prometheus, self.scale, began, minutes)
        quiet_too = began - self.scale.seconds(_QUIET)
        outcome.done = done_since(audit, quiet_too, began, self.scale)

    async def _set_back(self, service: str) -> None:
        for replica in self.platform.slots(service):
            await self.platform.clear(replica)
        replicas = "1" if service == "order" else str(self.layout.replicas)
        await self.platform.command("scale", service, replicas, seconds=_SET_BACK_SECONDS)
        await self.platform.command("restart", service, seconds=_SET_BACK_SECONDS)


def main() -> int:
    """0 when the bar is met (see `verdict.met`); 1 otherwise; 130 when interrupted."""
    chosen = _parse()
    try:
        outcomes = asyncio.run(_trial(chosen))
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    sys.stdout.write(f"{table(outcomes)}\n{chosen.out}\n")
    return 0 if met(outcomes) else 1


async def _trial(chosen: argparse.Namespace) -> list[Outcome]:
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    if task is not None:
        for interruption in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(interruption, task.cancel)
    random = Random(chosen.seed)  # noqa: S311 - a trial is to be repeatable, not secret
    scale = Scale(minute=chosen.minute, memory_bytes=chosen.memory_mb * 2**20)
    outcomes: list[Outcome] = []
    with workplace("trial") as directory:
        layout = Layout(directory / "stack", chosen.first_port, chosen.memory_mb)
        async with (
            HttpxAiohttpClient(timeout=10, trust_env=False) as client,
            running(layout, client) as platform,
            _customers(platform, client, chosen.rate, random),
            process(
                ("ml.predictor",),
                predictor_environment(layout, platform.prometheus, chosen.models, chosen.keys, scale),
                directory / "predictor.log",
            ),
        ):
            await ready(client, f"http://127.0.0.1:{layout.predictor_port}/health/live")
            trial = Trial(chosen, layout, platform, client, scale)
            for pair in range(1, chosen.pairs + 1):
                kind, service = chosen.kinds[(pair - 1) % len(chosen.kinds)], random.choice(chosen.services)
                for arm in (*random.sample((ACT, LEAVE), 2), NOTHING):
                    outcomes.append(await trial.episode(pair, arm, kind, service))
                    write(outcomes, chosen.out)  # what has been found is there, too, when the rest is interrupted
    return outcomes


@contextlib.asynccontextmanager
async def _customers(platform: Platform, client: httpx.AsyncClient, rate: float, random: Random) -> AsyncIterator[None]:
    products = await live_catalogue(client, platform.inventory) or KNOWN_PRODUCTS
    sources = [Random(random.random()) for _ in range(4)]  # noqa: S311
    traffic = Traffic(rate, sources[0], day_seconds=1440)
    customer = Customer(client, platform.edge, sources[1], attempts=2, timeout=8)
    task = asyncio.create_task(
        drive(
            traffic,
            customer,
            OrderMaker(products, sources[2], declining_share=0.03),
            sources[3],
            run=f"trial-{time.time_ns():x}",
        )
    )
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ml.trial", description=__doc__)
    parser.add_argument("--pairs", type=int, default=2, help="episodes of each arm, and without a fault")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument(
        "--services", nargs="+", choices=("order", "payment", "inventory"), default=["payment", "order"]
    )
    parser.add_argument("--patience", type=float, default=2.0, help="minutes until the operator approves")
    parser.add_argument("--policy", type=Path, default=Path(__file__).with_name("policy.yaml"))
    parser.add_argument("--models", type=Path, default=_ROOT / "ml/models")
    parser.add_argument("--keys", default=os.pathsep.join(str(_ROOT / place) for place in ("ml/keys", ".local/ml")))
    parser.add_argument(
        "--out",
        type=Path,
        default=_ROOT / ".local/ml/trial.json",
        help="result, as JSON; logs of the remediators beside it",
    )
    parser.add_argument("--minute", type=float, default=1.0, help="seconds that count as a minute")
    parser.add_argument("--rate", type=float, default=8.0, help="orders a second, about")
    parser.add_argument("--memory-mb", type=int, default=220)
    parser.add_argument("--first-port", type=int, default=18_400, help="of a block of 100")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
