"""What came of an episode: how long callers saw a breach, how early there was a warning, what was done."""

import asyncio
import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from ml.features.outcomes import seen
from ml.features.prometheus import Grid, Prometheus
from ml.features.signals import Scale
from ml.labels import Objective, breaches
from ml.remediation.audit import read

ACT, LEAVE, NOTHING = "act", "leave", "no fault"
EDGE = "order"
"""The service that customers call."""


@dataclass(frozen=True, slots=True)
class Deed:
    """An action that was carried out: when it began, from the start of the fault, and whether it helped."""

    minute: float
    what: str
    verified: str = ""

    def __str__(self) -> str:
        verified = f" ({self.verified})" if self.verified else ""
        return f"{self.what} at {self.minute:.0f}{verified}"


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
    done: list[Deed] = field(default_factory=list)

    @property
    def ahead(self) -> float | None:
        """Minutes from the first warning to the breach; negative: users saw it first. None: one of them never came."""
        return None if self.warned is None or self.begins is None else self.begins - self.warned


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


def done_since(audit: Path, began: float, onset: float, scale: Scale) -> list[Deed]:
    """Actions that the remediator carried out since a moment; both moments in seconds since 1970."""
    if not audit.exists():
        return []
    return [
        Deed(
            round((record.began.timestamp() - onset) / scale.minute, 1),
            f"{record.action.kind} {record.action.service}",
            record.verification,
        )
        for record in read(audit).values()
        if record.action is not None and record.outcome == "done" and record.began.timestamp() >= began
    ]
