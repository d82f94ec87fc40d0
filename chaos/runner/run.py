"""Runs one experiment: Chaos Toolkit in this process, then settling, the auditor, the verdict and the report."""

import contextlib
import json
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chaoslib.exceptions import ChaosException
from chaoslib.experiment import ensure_experiment_is_valid, run_experiment
from chaoslib.types import Strategy

from chaos import control, definition, session
from chaos.definition import BadExperiment, Definition
from chaos.probes.platform import settles, unfinished
from chaos.report import write as write_report
from chaos.report.run import Run
from chaos.runner import annotations
from chaos.runner.verdict import Facts, Verdict, judge
from chaos.session import Session
from chaos.targets.target import Target, TargetError

_END_SECONDS, _ASK_AGAIN_SECONDS = 20.0, 0.5


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator may choose. What is None is the experiment's own."""

    seed: int = 1
    fault_seconds: float | None = None
    warm_up_seconds: float | None = None
    orders_per_second: float | None = None


def run(name: str, target: Target, choices: Choices, *, folder: Path = definition.EXPERIMENTS) -> tuple[Verdict, Path]:
    """Run one scenario to its verdict. Call it from the main thread: signals end an experiment.

    Returns:
        The verdict and the directory with the journal and the report.

    Raises:
        BadExperiment: the file makes no sense.
        TargetError: the experiment cannot run there; says why.
    """
    experiment = definition.load(name, folder)
    defined = _chosen(definition.of(experiment), choices)
    reasons: Mapping[Any, str] = defined.not_on
    if reason := reasons.get(target.name):
        raise TargetError(f"{name} does not run on {target.name}: {reason}")
    run_id = f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
    under_way = Session(defined, target, target.runs / run_id, run=run_id, seed=choices.seed)
    session.begin(under_way)
    annotations.tell(target, run_id, "started", experiment["title"])
    began = time.time()
    try:
        facts, journal = _experiment(experiment, under_way)
    finally:
        # Whatever has happened: no fault stays, and no second Ctrl-C keeps it.
        with deaf():
            left = _ended(under_way)
    with deaf():
        audited = _audited(under_way) if not facts.not_started else Facts()
        facts = Facts(facts.not_started, facts.interrupted, facts.steady_after, audited.audit, audited.audit_says, left)
        ended = time.time()
        verdict = judge(defined, under_way.recording, facts, ended)
        under_way.recording.mark(ended, "verdict", f"{verdict.label}: {verdict.reason}")
        write_report(
            Run(experiment, defined, under_way.recording, facts, verdict, run_id, choices.seed, began, ended),
            journal, under_way.directory,
        )  # fmt: skip
    annotations.tell(target, run_id, "ended", f"{experiment['title']}: {verdict.label}", since=began)
    return verdict, under_way.directory


def _chosen(defined: Definition, choices: Choices) -> Definition:
    asked = {"warm_up_seconds": choices.warm_up_seconds, "orders_per_second": choices.orders_per_second}
    load = defined.load.model_copy(update={name: value for name, value in asked.items() if value is not None})
    return defined.model_copy(update={"load": load, "fault_seconds": choices.fault_seconds or defined.fault_seconds})


def _experiment(experiment: dict[str, Any], under_way: Session) -> tuple[Facts, Mapping[str, Any]]:
    addresses = under_way.target.addresses
    variables = {
        "edge": addresses.edge,
        "prometheus": addresses.prometheus,
        "fault_seconds": under_way.definition.fault_seconds,
    }
    settings = {"runtime": {"rollbacks": {"strategy": "always"}}}
    try:
        ensure_experiment_is_valid(experiment)
        sick = under_way.target.unwell()
        if sick:
            return Facts(not_started=f"the platform is not well: {'; '.join(sick)}"), {}
        if acting := under_way.target.faults():
            return Facts(not_started=f"something is broken already: {'; '.join(acting)}"), {}
        journal = run_experiment(
            experiment, settings=settings, experiment_vars=(variables, None), strategy=Strategy.DEFAULT
        )
    except ChaosException as error:
        raise BadExperiment(f"{under_way.definition.scenario}: {error}") from error
    except TargetError as error:
        return Facts(not_started=str(error)), {}
    return _facts(journal, under_way), journal


def _facts(journal: Mapping[str, Any], under_way: Session) -> Facts:
    begun = under_way.recording.first("fault") is not None
    before = (journal["steady_states"]["before"] or {}).get("steady_state_met")
    after = (journal["steady_states"]["after"] or {}).get("steady_state_met")
    interrupted = ""
    if journal["status"] == "interrupted":
        interrupted = under_way.breached or "stopped by the operator"
    not_started = ""
    if not begun:
        probes = (journal["steady_states"]["before"] or {}).get("probes") or []
        failed = [_probe(probe) for probe in probes if not probe.get("tolerance_met")]
        not_started = "; ".join(failed) if before is False else interrupted or "the method did not begin"
    return Facts(not_started=not_started, interrupted=interrupted, steady_after=after)


def _probe(probe: Mapping[str, Any]) -> str:
    name = probe["activity"]["name"]
    if probe.get("exception"):
        return f"{name}: {str(probe['exception'][-1]).strip()}"
    return f"{name}: {json.dumps(probe.get('output'), default=str)[:200]}"


def _ended(under_way: Session) -> tuple[str, ...]:
    """End faults, wait until what was begun has settled, end the load; what still acts."""
    left: tuple[str, ...] = ()
    patience = time.monotonic() + _END_SECONDS
    while True:
        try:
            under_way.lift()
            left = tuple(under_way.target.faults())
        except TargetError as error:
            left = (str(error),)
        # A process that is still stopping can only be started again when it has stopped.
        if not left or time.monotonic() > patience:
            break
        time.sleep(_ASK_AGAIN_SECONDS)
    under_way.traffic.stop()
    _settle(under_way)
    control.end()
    under_way.stop()
    return left


def _settle(under_way: Session) -> None:
    """Wait until no order is under way any more, as long as recovery may take."""
    if under_way.recording.first("fault") is None or not under_way.definition.recovery.settled:
        return
    limit = under_way.definition.recovery.within_seconds
    took = settles(under_way, limit)
    if took is None:
        left = unfinished(under_way)
        text = f"{'nobody knows how many' if left is None else left} orders are under way after {limit:g} s"
        under_way.recording.mark(time.time(), "unsettled", text)
    else:
        under_way.recording.mark(time.time(), "settled", f"no order is under way, {took:.1f} s after the load")


def _audited(under_way: Session) -> Facts:
    answers = under_way.traffic.answers
    try:
        code, said = under_way.target.audit(
            answers if answers.exists() else None,
            under_way.directory / "audit.json",
            settled=under_way.definition.recovery.settled,
        )
    except TargetError as error:
        code, said = 2, str(error)
    under_way.recording.mark(time.time(), "audit", {0: "clean", 1: "broken"}.get(code, "not readable"))
    return Facts(audit=code, audit_says=said)


@contextlib.contextmanager
def deaf() -> Iterator[None]:
    """Signals that would end this process wait: what runs here is bounded in time and must be finished."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
