"""What each kind of fault does, step by step.

A gradual fault is put in again every few seconds, a little worse each time and with a time to live that bridges just
the gap to the next step: if the campaign dies, the platform heals by itself.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import Any

import structlog

from ml.campaigns.load import Traffic
from ml.campaigns.platform import Platform, ReplicaAway
from ml.campaigns.schedule import Episode
from ml.features.signals import Scale

log = structlog.get_logger()

_STEP_SECONDS = 2.0

Step = Callable[[float, float], Awaitable[None]]
"""Puts the fault in at an intensity (0 to about 1.3) for so many seconds."""


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a fault acts."""

    platform: Platform
    traffic: Traffic
    scale: Scale


async def play(episode: Episode, ground: Ground) -> None:
    """One episode after its quiet time: ramp, hold, and everything given back."""
    random = Random(episode.seed)  # noqa: S311 - a campaign is to be repeatable, not secret
    seconds = ground.scale.seconds
    name = episode.kind.name
    if name == "ramp-that-ends":
        name = random.choice(("database-slowdown", "loop-creep", "pool-leak"))
    try:
        if name in _RAMPS:
            step = _RAMPS[name](episode, ground, random)
            await _ramp(step, episode.reach, seconds(episode.ramp), seconds(episode.hold))
        else:
            await _ABRUPT[name](episode, ground, random)
    except ReplicaAway as error:
        log.info("a fault found no replica", error=str(error))
    finally:
        ground.traffic.factor = 1.0
        for replica in ground.platform.replicas(episode.service).values():
            await ground.platform.clear(replica)


async def _ramp(step: Step, reach: float, ramp: float, hold: float) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    while (passed := loop.time() - began) < ramp + hold:
        try:
            await step(reach * min(1.0, passed / ramp), _STEP_SECONDS * 1.6)
        except ReplicaAway as error:
            log.info("a step of a fault found no replica", error=str(error))
        await asyncio.sleep(_STEP_SECONDS)


def _chosen(episode: Episode, ground: Ground, random: Random) -> list[str]:
    """One replica, or all of them."""
    everybody = list(ground.platform.replicas(episode.service).values())
    return everybody if random.random() < 0.7 else [random.choice(everybody)]


def _replaced(make: Callable[[float], dict[str, Any] | None]) -> Callable[[Episode, Ground, Random], Step]:
    """A fault that is put in anew with each step, the one before it taken out."""

    def prepare(episode: Episode, ground: Ground, random: Random) -> Step:
        replicas = _chosen(episode, ground, random)
        before: dict[str, str] = {}

        async def step(intensity: float, seconds: float) -> None:
            fault = make(intensity)
            if fault is None:
                return
            for replica in replicas:
                new = await ground.platform.inject(replica, fault | {"seconds": round(seconds, 2)})
                old, before[replica] = before.get(replica), new
                if old is not None:
                    await ground.platform.end(replica, old)

        return step

    return prepare


def _pool(episode: Episode, ground: Ground, random: Random) -> Step:
    """One connection after the other is not given back."""
    replicas = _chosen(episode, ground, random)
    taken = 0

    async def step(intensity: float, _seconds: float) -> None:
        nonlocal taken
        while taken < round(9 * min(1.0, intensity)):
            taken += 1
            left = min(600.0, ground.scale.seconds(episode.ramp + episode.hold))
            for replica in replicas:
                await ground.platform.inject(replica, {"kind": "pool", "connections": 1, "seconds": round(left, 1)})

    return step


def _memory(episode: Episode, ground: Ground, random: Random) -> Step:
    """One leak that grows by itself: put in once, since a new one would give the old one back."""
    replicas = _chosen(episode, ground, random)
    budget_mb = ground.scale.memory_bytes / 2**20
    rate = budget_mb * episode.reach / ground.scale.seconds(episode.ramp)
    whole = min(600.0, ground.scale.seconds(episode.ramp + episode.hold))
    begun: set[str] = set()

    async def step(_intensity: float, _seconds: float) -> None:
        for replica in replicas:
            if replica not in begun:
                fault = {"kind": "memory", "mb_per_second": round(rate, 3), "max_mb": int(budget_mb), "seconds": whole}
                await ground.platform.inject(replica, fault)
                begun.add(replica)

    return step


def _database(intensity: float) -> dict[str, Any] | None:
    latency = 250.0 * intensity**1.5
    return {"kind": "database", "statements": "any", "latency_ms": round(latency, 1)} if latency >= 1 else None


def _loop(intensity: float) -> dict[str, Any] | None:
    block = min(900.0, 750.0 * intensity**1.5)
    return {"kind": "loop", "block_ms": round(block, 1), "every_ms": 1000} if block >= 5 else None


def _load(_episode: Episode, ground: Ground, random: Random) -> Step:
    most = random.uniform(6.0, 14.0)

    async def step(intensity: float, _seconds: float) -> None:
        ground.traffic.factor = 1 + (most - 1) * intensity

    return step


def _cards(episode: Episode, ground: Ground, random: Random) -> Step:
    replicas = _chosen(episode, ground, random)

    async def step(intensity: float, seconds: float) -> None:
        for replica in replicas:
            await ground.platform.slow_card_network(replica, 30 + 1500 * intensity**1.5, seconds)

    return step


_RAMPS: dict[str, Callable[[Episode, Ground, Random], Step]] = {
    "memory-leak": _memory,
    "pool-leak": _pool,
    "database-slowdown": _replaced(_database),
    "load-ramp": _load,
    "card-network-slowdown": _cards,
    "loop-creep": _replaced(_loop),
}


async def _hold(fault: dict[str, Any], episode: Episode, ground: Ground, random: Random) -> None:
    seconds = ground.scale.seconds(episode.ramp)
    for replica in _chosen(episode, ground, random):
        await ground.platform.inject(replica, fault | {"seconds": round(seconds, 1)})
    await asyncio.sleep(seconds)


async def _killed(episode: Episode, ground: Ground, random: Random) -> None:
    for name in ground.platform.replicas(episode.service):
        if random.random() < 0.6:
            await ground.platform.command("kill", name, "KILL")
    await asyncio.sleep(ground.scale.seconds(episode.ramp))


async def _errors(episode: Episode, ground: Ground, random: Random) -> None:
    await _hold({"kind": "http", "status": 500, "rate": round(random.uniform(0.3, 1), 2)}, episode, ground, random)


async def _latency(episode: Episode, ground: Ground, random: Random) -> None:
    await _hold({"kind": "http", "latency_ms": random.randrange(1200, 2500)}, episode, ground, random)


async def _locked(episode: Episode, ground: Ground, random: Random) -> None:
    fault = {"kind": "database", "statements": "write", "error": "locked", "rate": 0.8}
    await _hold(fault, episode, ground, random)


async def _nothing(episode: Episode, ground: Ground, _random: Random) -> None:
    await asyncio.sleep(ground.scale.seconds(episode.ramp))


async def _spike(episode: Episode, ground: Ground, random: Random) -> None:
    ground.traffic.factor = random.uniform(1.8, 3.0)
    await asyncio.sleep(ground.scale.seconds(episode.ramp))


async def _restart(episode: Episode, ground: Ground, _random: Random) -> None:
    await ground.platform.command("restart", episode.service)


_ABRUPT: dict[str, Callable[[Episode, Ground, Random], Awaitable[None]]] = {
    "killed": _killed,
    "errors": _errors,
    "latency-step": _latency,
    "database-locked": _locked,
    "none": _nothing,
    "load-spike": _spike,
    "restart": _restart,
}
