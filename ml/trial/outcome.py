"""What came of an episode: how long callers saw a breach, how early there was a warning, what was done."""

import asyncio
import contextlib
import statistics
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from ml.features.outcomes import seen
from ml.features.prometheus import Grid, Prometheus
from ml.features.signals import Scale
from ml.labels import Objective, breaches
from ml.remediation.audit import read

ACT, LEAVE, NOTHING = "act", "leave", "no fault"
EDGE = "order"
"""The service that customers call."""


@dataclass(slots=True)
class Outcome:
    """One episode; times in minutes of the trial's clock.

    arm:      `act`, `leave` (the control), `no fault`
    breach:   minutes in which customers, at the edge, saw a breach
    begins:   when the first one began, from the start of the fault; None: there was none
    warned:   when the predictor first warned of the struck service or of order; None: it did not
    done:     actions that were carried out, in order
    """

    pair: int
    arm: str
    kind: str
    service: str
    breach: int = 0
    begins: int | None = None
    warned: float | None = None
    done: list[str] = field(default_factory=list)


async def breach_minutes(prometheus: Prometheus, scale: Scale, start: float, minutes: int) -> tuple[int, int | None]:
    """Minutes in a breach, and the minute in which the first began, as customers saw it at the edge."""
    grid = Grid(end=start + scale.seconds(minutes - 1), step=scale.minute, count=minutes)
    queries = [scale.fill(query, EDGE) for query in seen(EDGE).values()]
    errors, slow = await asyncio.gather(*(prometheus.column(query, grid) for query in queries))
    found = breaches(np.asarray(errors), np.asarray(slow), Objective())
    return sum(each.end - each.start for each in found), found[0].start if found else None


async def first_warning(client: httpx.AsyncClient, predictor: str, services: Collection[str], scale: Scale) -> float:
    """Return at the first warning of one of the services, with the moment of it on the loop's clock."""
    while True:
        with contextlib.suppress(httpx.HTTPError, ValueError, KeyError):
            told = (await client.get(f"{predictor}/predictions")).json()["predictions"]
            if any(each["state"] == "warning" and each["service"] in services for each in told):
                return asyncio.get_running_loop().time()
        await asyncio.sleep(scale.seconds(0.5))


def done_since(audit: Path, began: float) -> list[str]:
    """Actions that the remediator carried out since a moment (seconds since 1970)."""
    if not audit.exists():
        return []
    return [
        f"{record.action.kind} {record.action.service}"
        for record in read(audit).values()
        if record.action is not None and record.outcome == "done" and record.began.timestamp() >= began
    ]


def table(outcomes: Sequence[Outcome]) -> str:
    """All episodes, and both numbers: minutes in a breach without and with acting."""
    lines = ["pair arm       fault        service    warned  breach from  minutes in breach  done"]
    lines += [
        f"{each.pair:4d} {each.arm:9s} {each.kind:12s} {each.service:10s} {_minute(each.warned):>6s}"
        f" {_minute(each.begins):>12s} {each.breach:18d}  {', '.join(each.done) or '-'}"
        for each in outcomes
    ]
    left, acted = ([each.breach for each in outcomes if each.arm == arm] for arm in (LEAVE, ACT))
    if left and acted:
        lines.append(
            f"minutes in a breach an episode, on average: {statistics.mean(left):.1f} left alone,"
            f" {statistics.mean(acted):.1f} acted on"
        )
    unharmed = [each for each in outcomes if each.arm == NOTHING]
    if unharmed:
        lines.append(f"without a fault: {sum(len(each.done) for each in unharmed)} actions")
    return "\n".join(lines)


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """The episodes as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    told: list[dict[str, Any]] = [asdict(each) for each in outcomes]
    path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _minute(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
