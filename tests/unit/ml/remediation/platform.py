"""A platform that never was: its clock, its predictor and its replicas, for tests of the loop."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import yaml

from ml.remediation.acting import Acting
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.approvals import Approvals
from ml.remediation.audit import Audit, Record
from ml.remediation.decide import Decider
from ml.remediation.limits import Fleet
from ml.remediation.loop import Files, Remediator
from ml.remediation.metrics import Metrics
from ml.remediation.sources import Sources

SERVICES = ("order", "payment", "inventory")


@dataclass
class Replicas:
    """An actuator that keeps count, and fails as it is told to."""

    name = "replicas"
    fleets: dict[str, Fleet] = field(default_factory=lambda: dict.fromkeys(SERVICES, Fleet(2, 2)))
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    failing: ActuatorError | None = None
    before: Callable[[], None] = lambda: None

    async def fleet(self, service: str) -> Fleet:
        return self.fleets[service]

    async def scale(self, service: str, *, before: int, to: int) -> str:
        self._do("scale", service, before, to)
        if self.fleets[service].wanted != before:
            raise ActuatorError(Failure.CONFLICT, f"not {before}")
        self.fleets[service] = Fleet(to, to)
        return f"{before} -> {to}"

    async def restart(self, service: str) -> str:
        self._do("restart", service)
        return "restarted"

    async def drain(self, service: str, seconds: float) -> str:
        self._do("drain", service, seconds)
        return f"{service}-2"

    async def undrain(self, service: str, drained: str) -> str:
        self._do("undrain", service, drained)
        return "back"

    def _do(self, *call: Any) -> None:
        self.before()
        self.calls.append(call)
        if self.failing:
            raise self.failing


class Platform:
    """Everything around one remediator, a minute at a time."""

    def __init__(self, directory: Path, *, dice: float = 0.9, **policy: Any) -> None:
        self.directory, self.now = directory, 1_000_000_000.0
        self.probabilities: dict[str, float | None] = dict.fromkeys(SERVICES, 0.05)
        self.signals: tuple[str, ...] = ()
        self.moved: dict[str, dict[str, float]] = {}
        self.breached: set[str] = set()
        self.answer: Callable[[httpx.Request], httpx.Response] = self.honest
        self.replicas, self.dice = Replicas(), dice
        self.policy_file = directory / "policy.yaml"
        self.policy(**policy)
        self.each_minute: Callable[[], None] = lambda: None
        self._ids = count(1)
        self.client = httpx.AsyncClient(transport=httpx.MockTransport(lambda request: self.answer(request)))
        self.start()

    def policy(self, **changed: Any) -> None:
        """Write the policy file."""
        radius = {"most_replicas": dict.fromkeys(SERVICES, 4)} | changed.pop("blast_radius", {})
        remedies = [{"signals": ["memory"], "actions": ["restart"]}, {"signals": [], "actions": ["scale", "drain"]}]
        told = {"mode": "auto", "persistence": {"k": 2, "n": 3}, "blast_radius": radius, "remedies": remedies}
        self.policy_file.write_text(yaml.safe_dump(told | changed))

    def start(self) -> None:
        """A new process, with what the one before it left on disk."""
        self.audit = Audit(self.directory / "audit.jsonl")
        clock = lambda: self.now  # noqa: E731
        new_id = lambda: f"id-{self.now:.0f}-{next(self._ids)}"  # noqa: E731
        self.decider, self.metrics = Decider.fresh(lambda: self.dice, new_id), Metrics()
        self.approvals = Approvals(clock)
        self.acting = Acting(self.replicas, self.audit, self.decider, self.metrics, clock, 60.0)
        self.remediator = Remediator(
            Files(self.policy_file, self.directory / "stop"),
            Sources(self.client, "http://predictor", "http://prometheus", seconds=0.2),
            self.replicas, self.acting, self.decider, self.approvals, self.metrics, clock, new_id,
        )  # fmt: skip

    def end(self) -> None:
        """The process ends; its lock goes with it."""
        self.audit.__exit__(None, None, None)

    async def minutes(self, number: int) -> None:
        """So many turns, each with the actions that it began."""
        for _ in range(number):
            self.now += 60
            self.each_minute()
            await self.remediator.minute()
            await self.acting.settled()

    def reasons(self) -> dict[str, str]:
        return {each.service: each.reason for each in self.remediator.decisions}

    def records(self) -> list[Record]:
        return list(self.audit.records().values())

    def actions(self) -> list[Record]:
        return [each for each in self.records() if each.action and each.outcome not in ("shadow", "control", "")]

    def counted(self, **labels: str) -> float:
        samples = [each for family in self.metrics.registry.collect() for each in family.samples]
        return sum(
            each.value
            for each in samples
            if each.name == "remediation_actions_total" and labels.items() <= each.labels.items()
        )

    def prediction(self, service: str, **changed: Any) -> dict[str, Any]:
        probability = self.probabilities[service]
        moved = self.moved.get(service, dict.fromkeys(self.signals, 1.0))
        state = "unknown" if probability is None else "warning" if probability >= 0.5 else "quiet"
        return {
            "service": service, "at": datetime.fromtimestamp(self.now, UTC).isoformat(), "state": state,
            "probability": probability, "threshold": 0.5, "horizon_minutes": [10, 30], "why": "",
            "reasons": [{"signal": each, "words": "it moved", "weight": weight} for each, weight in moved.items()],
            "missing": [], "model": "abc",
        } | changed  # fmt: skip

    def honest(self, request: httpx.Request) -> httpx.Response:
        if request.url.host == "predictor":
            return httpx.Response(200, json={"predictions": [self.prediction(each) for each in SERVICES]})
        bad = "0.9" if "5.." in request.url.params["query"] else "0.1"
        result = [{"metric": {"service": s}, "value": [0, bad if s in self.breached else "0"]} for s in SERVICES]
        return httpx.Response(200, content=json.dumps({"status": "success", "data": {"result": result}}))
