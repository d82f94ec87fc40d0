"""Climbs the ladder: for each rung the same load and the same fault, then what came of it."""

import contextlib
import importlib
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from chaos import definition, session
from chaos.compare.judged import Row, judge
from chaos.compare.ladder import Ladder, Rung
from chaos.compare.measured import METRICS, Measured, measure
from chaos.compare.switches import Switches, restore
from chaos.definition import Definition, Load, Recovery
from chaos.probes.platform import not_recovered, settles
from chaos.runner.run import deaf
from chaos.session import Session
from chaos.targets.target import Target, TargetError

logger = logging.getLogger("chaostoolkit")

_LOST = ("answers-kept", "orders-end", "confirmed-paid")
_TWICE = ("charged-once", "payments-owned")
_LOOK_SECONDS, _CLEAR_SECONDS = 0.25, 20.0


@dataclass(frozen=True, slots=True)
class Phases:
    """How long each rung's parts take, in seconds: load before, fault, recovery and settling at most."""

    before: float = 3.0
    fault: float = 12.0
    recovery: float = 15.0
    settling: float = 15.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is compared, and how."""

    scenario: str
    seed: int = 1
    orders_per_second: float = 12.0
    phases: Phases = Phases()


def climb(
    ladder: Ladder, target: Target, chosen: Chosen, directory: Path, tell: Callable[[str], None] = lambda _: None
) -> list[Row]:
    """Measure every rung, and put everything back, whatever happens. Call it from the main thread.

    Raises:
        BadExperiment: the scenario makes no sense.
        TargetError: the platform is not well, or is broken already.
    """
    experiment = definition.load(chosen.scenario)
    defined = _shortened(definition.of(experiment), chosen)
    if reasons := [*target.unwell(), *target.faults()]:
        raise TargetError(f"Nothing is compared on a platform that is not well: {'; '.join(reasons)}")
    measured: dict[str, Measured] = {}
    skipped: dict[str, str] = {}
    switches = Switches(target, ladder)
    switches.remember()
    with _ended_by_signals():
        try:
            for rung in ladder.rungs:
                move = rung.move(chosen.scenario)
                if rung.against is not None and isinstance(move, str):
                    skipped[rung.name] = move  # no step of the ladder, and nothing to see
                    continue
                try:
                    switches.set(rung)
                except TargetError as error:
                    skipped[rung.name] = str(error)
                    continue
                tell(rung.name)
                measured[rung.name] = _rung(experiment, defined, target, chosen, directory / _folder(rung))
        finally:
            with deaf():
                restore(target)
    return judge(ladder.rungs, measured, chosen.scenario, skipped)


def _shortened(defined: Definition, chosen: Chosen) -> Definition:
    load = Load(
        orders_per_second=chosen.orders_per_second,
        warm_up_seconds=chosen.phases.before,
        declining=defined.load.declining,
    )
    recovery = Recovery(within_seconds=chosen.phases.recovery)
    return defined.model_copy(update={"load": load, "recovery": recovery, "fault_seconds": chosen.phases.fault})


def _rung(
    experiment: Mapping[str, Any], defined: Definition, target: Target, chosen: Chosen, directory: Path
) -> Measured:
    """One rung from its first order to the auditor."""
    run = f"{directory.parent.name}-{directory.name}"[:64]
    under_way = Session(defined, target, directory, run=run, seed=chosen.seed, metrics=METRICS)
    session.begin(under_way)
    try:
        under_way.start()
        _break(experiment, defined.fault_seconds)
        time.sleep(defined.fault_seconds)
        _lift(under_way)
        recovered = _recovered(under_way)
        under_way.traffic.stop()
        settled = settles(under_way, chosen.phases.settling) is not None
    finally:
        with deaf():
            _lift(under_way)
            under_way.stop()
    window = under_way.recording.window(time.time())
    if window is None:
        raise TargetError(f"{defined.scenario}: there was no fault")
    lost, twice, said = _audited(under_way, settled=settled)
    figures = measure(under_way.recording, window)
    return replace(figures, recovered=recovered, lost=lost, twice=twice, audit=said)


def _break(experiment: Mapping[str, Any], seconds: float) -> None:
    """The actions of the experiment's method, up to where it holds."""
    for activity in experiment["method"]:
        provider = activity["provider"]
        if activity["type"] != "action" or provider["module"] == "chaos.actions.wait":
            return
        arguments = {
            name: seconds if value == "${fault_seconds}" else value
            for name, value in provider.get("arguments", {}).items()
        }
        getattr(importlib.import_module(provider["module"]), provider["func"])(**arguments)


def _recovered(under_way: Session) -> float | None:
    lifted = under_way.recording.first("lift") or time.time()
    limits = under_way.definition.recovery
    while not_recovered(under_way, limits):
        if time.time() - lifted > limits.within_seconds:
            return None
        time.sleep(_LOOK_SECONDS)
    return time.time() - lifted


def _lift(under_way: Session) -> None:
    """What is still stopping can only be started again when it has stopped."""
    patience = time.monotonic() + _CLEAR_SECONDS
    while True:
        under_way.lift()
        try:
            if not under_way.target.faults() or time.monotonic() > patience:
                return
        except TargetError as error:
            logger.warning("%s", error)
            return
        time.sleep(_LOOK_SECONDS)


def _audited(under_way: Session, *, settled: bool) -> tuple[int | None, int | None, str]:
    """Orders lost, orders charged twice, and what the auditor said."""
    answers, report = under_way.traffic.answers, under_way.directory / "audit.json"
    try:
        code, said = under_way.target.audit(answers if answers.exists() else None, report, settled=settled)
    except TargetError as error:
        return None, None, str(error)
    if code == 2 or not report.exists():
        return None, None, said
    listed = json.loads(report.read_text(encoding="utf-8")).get("invariants")
    if listed is None:
        return None, None, said
    broken = {each["name"]: int(each["broken"]) for each in listed}
    return sum(broken.get(name, 0) for name in _LOST), sum(broken.get(name, 0) for name in _TWICE), said


def _folder(rung: Rung) -> str:
    return "-".join(rung.name.replace("+", "").split())


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """SIGTERM ends a comparison as Ctrl-C does: `make chaos-stop` sends it."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
