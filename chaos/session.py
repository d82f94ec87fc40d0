"""One experiment under way: what its control, actions and probes share, since Chaos Toolkit calls each alone."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from chaos import definition as definitions
from chaos.definition import Abort, Definition
from chaos.loan import Loan
from chaos.observer import Observer
from chaos.recording import Recording
from chaos.targets.target import Target
from chaos.traffic import Figures, Traffic, breach

_WARM_UP_PATIENCE = 30.0


class Session:
    """Load, observer, recording and target of one run. `metrics` are read beside what the definition asks for."""

    def __init__(
        self,
        definition: Definition,
        target: Target,
        directory: Path,
        *,
        run: str,
        seed: int,
        metrics: Collection[str] = (),
    ) -> None:
        self.definition = definition
        self.target = target
        self.directory = directory
        self.run = run
        self.seed = seed
        self.recording = Recording()
        directory.mkdir(parents=True, exist_ok=True)
        self.traffic = Traffic(
            directory, self.recording, edge=target.addresses.edge, inventory=target.addresses.inventory
        )
        self.observer = Observer(target, self.recording, self.traffic, _metrics(definition) | set(metrics))
        self.breached = ""
        self._loan = Loan(target, directory / "loan.log")
        self._armed = threading.Event()
        self._at_lift: list[Callable[[], None]] = []

    # -- before and after

    def start(self) -> None:
        """Bring the target to the size that the experiment needs, send load, and wait until it is answered."""
        self._loan.take(self.definition.replicas)
        load = self.definition.load
        self.traffic.start(load, seed=self.seed, experiment=self.run)
        self.observer.start(_queries(self.definition))
        self.recording.mark(time.time(), "load", f"{load.orders_per_second:g} orders a second, seed {self.seed}")
        # The load takes a moment to start, the longer the busier the machine is: warm-up counts from the first answer.
        patience = time.monotonic() + _WARM_UP_PATIENCE
        while time.monotonic() < patience and self.traffic.running and not self._answered():
            time.sleep(0.1)
        time.sleep(load.warm_up_seconds)

    def stop(self) -> None:
        """End load and observer, and bring the target back to its size; what fails does not stop the rest."""
        self._armed.clear()
        self.traffic.stop()
        self.observer.stop()
        self._loan.give_back()

    def _answered(self) -> bool:
        return any(order.ended for order in list(self.recording.orders.values()))

    # -- the fault

    @contextmanager
    def fault(self, text: str) -> Iterator[None]:
        """Put a fault in inside of this: from its beginning on the abort condition is in force."""
        self._armed.set()
        self.recording.mark(time.time(), "fault", text)
        yield

    def at_lift(self, end: Callable[[], None]) -> None:
        """Call that, once, when the faults are ended: for what no target knows."""
        self._at_lift.append(end)

    def lift(self) -> None:
        """End all faults, everywhere. Harmless when there is none."""
        self._armed.clear()
        try:
            while self._at_lift:
                self._at_lift.pop()()
        finally:
            self.target.clear()
        if self.recording.first("fault") is not None and self.recording.first("lift") is None:
            self.recording.mark(time.time(), "lift", "every fault is ended")

    # -- what customers see

    def figures(self, seconds: float) -> Figures:
        """What customers saw in the last seconds."""
        self.traffic.read()
        return self.traffic.figures(seconds, self.definition.abort.p99_above_seconds)

    def may_go_on(self) -> bool:
        """The abort condition does not hold. It is looked at only while the fault acts."""
        if not self._armed.is_set():
            return True
        limits: Abort = self.definition.abort
        # What ended before the fault is not its doing.
        since = time.time() - (self.recording.first("fault") or 0.0)
        reason = breach(self.figures(min(limits.window_seconds, since)), limits)
        if not self.traffic.running:
            reason = "the load has ended: nobody sees what customers see"
        if reason and not self.breached:
            self.breached = reason
            self.recording.mark(time.time(), "abort", reason)
        return not reason


_current: Session | None = None


def current() -> Session:
    """The session of the experiment that runs in this process. Raises `RuntimeError` when there is none."""
    if _current is None:
        raise RuntimeError("No experiment runs: its file has to name the control chaos.control.")
    return _current


def begin(session: Session) -> None:
    """This process runs that experiment. Chaos Toolkit's safeguards allow one in a process."""
    global _current
    _current = session


def begun() -> bool:
    """An experiment runs in this process."""
    return _current is not None


def definition_of(experiment: Mapping[str, object]) -> Definition:
    """The experiment's extension."""
    return definitions.of(experiment)


def _metrics(definition: Definition) -> set[str]:
    named = set()
    for check in (*definition.bites, *definition.expect):
        if isinstance(check, definitions.Increase):
            named.add(check.increase)
        elif isinstance(check, definitions.Gauge):
            named.add(check.gauge)
    return named


def _queries(definition: Definition) -> list[str]:
    return [check.promql for check in (*definition.bites, *definition.expect) if isinstance(check, definitions.Query)]
