"""The faults of one process: begun on request, ended by their time, by whoever asks, or by the end of the service."""

import logging
import secrets
import threading
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge

from shared.chassis.database import Database
from shared.chassis.faults.active import Active, Kind, Refused
from shared.chassis.faults.clock import ClockFaults
from shared.chassis.faults.cpu import CpuFaults
from shared.chassis.faults.database import DatabaseFaults
from shared.chassis.faults.disk import DiskFaults
from shared.chassis.faults.http import HttpFaults
from shared.chassis.faults.idempotency import IdempotencyFaults
from shared.chassis.faults.loop import LoopFaults
from shared.chassis.faults.memory import MemoryFaults
from shared.chassis.faults.network import NetworkFaults
from shared.chassis.faults.pool import PoolFaults
from shared.chassis.faults.requests import FaultRequest
from shared.chassis.faults.timing import SystemTiming, Timer, Timing
from shared.telemetry import remark

MOST_FAULTS = 20


class Faults:
    """Begins and ends faults.

    allowed: off, injecting is refused
    new_id:  makes the end of a fault's id
    """

    def __init__(
        self,
        metrics: CollectorRegistry,
        database: Database,
        *,
        allowed: bool = True,
        timing: Timing | None = None,
        random: Random | None = None,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        random = random or Random()  # noqa: S311 - chance, not a secret
        self._allowed, self._timing, self._new_id = allowed, timing or SystemTiming(), new_id
        self.http = HttpFaults(random)
        self.network = NetworkFaults(random)
        self.clock = ClockFaults(random)
        self.idempotency = IdempotencyFaults(random)
        others = (DatabaseFaults(random, database), PoolFaults(random, database), DiskFaults(random, database))
        kinds: tuple[Kind[Any], ...] = (
            *(self.http, self.network, self.clock, self.idempotency, *others),
            *(CpuFaults(random), MemoryFaults(random), LoopFaults(random)),
        )
        self.kinds = {kind.name: kind for kind in kinds}
        self._lock = threading.Lock()
        self._timers: dict[str, Timer] = {}
        self._struck = Counter("faults_struck_total", "What faults on purpose have struck", ["kind"], registry=metrics)
        gauge = Gauge("faults_active", "Faults on purpose that act now", ["kind"], registry=metrics)
        for name, kind in self.kinds.items():
            gauge.labels(name).set_function(partial(_running, kind))
            self._struck.labels(name)

    def inject(self, request: FaultRequest) -> Active[Any]:
        """Begin a fault, on the running event loop. Raises `Refused`."""
        if not self._allowed:
            raise Refused("faults are switched off here: FAULT_INJECTION")
        kind = self.kinds[request.kind]
        kind.check(request)
        fault = Active(f"{kind.name}-{self._new_id()}", request, self._timing, self._struck.labels(kind.name).inc)
        with self._lock:
            if sum(len(each.active) for each in self.kinds.values()) >= MOST_FAULTS:
                raise Refused(f"there are {MOST_FAULTS} faults already")
            # its end comes first: without it, nothing begins
            self._timers[fault.id] = self._timing.call_later(request.seconds, lambda: self._end(fault, "expired"))
            kind.active = (*kind.active, fault)
        asked = request.model_dump(exclude_none=True, exclude={"kind", "experiment"})
        _remark("fault begins", fault, asked=asked)
        try:
            kind.begin(fault)
        except BaseException:
            self._end(fault, "did not begin")
            raise
        return fault

    def active(self) -> list[Active[Any]]:
        """What acts now, in the order in which it began."""
        running = [fault for kind in self.kinds.values() for fault in kind.running()]
        return sorted(running, key=lambda fault: fault.began)

    def clear(self, fault_id: str | None = None, reason: str = "cleared") -> int:
        """End one fault; None: all. Returns how many ended: 0 when it was over already, or never was."""
        chosen = [fault for fault in self._all() if fault_id in (None, fault.id)]
        return sum(self._end(fault, reason) for fault in chosen)

    async def close(self) -> None:
        """End all faults and wait until what they held has been given back."""
        self._allowed = False
        self.clear(reason="the service stops")
        for kind in self.kinds.values():
            await kind.close()

    def _all(self) -> list[Active[Any]]:
        return [fault for kind in self.kinds.values() for fault in kind.active]

    def _end(self, fault: Active[Any], reason: str) -> bool:
        kind = self.kinds[fault.request.kind]
        with self._lock:
            if fault not in kind.active:
                return False
            kind.active = tuple(each for each in kind.active if each is not fault)
            timer = self._timers.pop(fault.id)
        timer.cancel()
        fault.finish()
        kind.end(fault)
        _remark("fault is over", fault, reason=reason, struck=fault.struck)
        return True


def _remark(event: str, fault: Active[Any], **fields: Any) -> None:
    about = fault.request
    remark(event, level=logging.WARNING, fault=fault.id, kind=about.kind, experiment=about.experiment, **fields)


def _running(kind: Kind[Any]) -> int:
    return sum(1 for _ in kind.running())
