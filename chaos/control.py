"""The control that every experiment names: load, observer and safeguards around a run of Chaos Toolkit.

Under plain `chaos run` it does all that keeps an experiment safe; `make chaos` adds the verdict and the report.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from chaosaddons.controls import safeguards
from chaosaddons.controls.synchronization import experiment_finished
from chaoslib.exceptions import InterruptExecution

from chaos import session as sessions
from chaos import targets
from chaos.definition import Abort, BadExperiment
from chaos.session import Session
from chaos.targets.target import TargetError

logger = logging.getLogger("chaostoolkit")

_alone = False


def before_experiment_control(
    context: Mapping[str, Any],
    configuration: Mapping[str, Any] | None = None,
    secrets: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
    **_others: Any,
) -> None:
    """Start load and observer, then arm the safeguards. What fails here ends the experiment before it has begun."""
    try:
        session = _session(context)
        session.start()
    except (TargetError, BadExperiment, OSError) as error:
        raise InterruptExecution(f"The experiment cannot begin: {error}") from error
    probes = [_safeguard(session.definition.abort)]
    safeguards.guardian.prepare(probes)
    safeguards.guardian.run(context, probes, configuration or {}, secrets or {}, settings or {})


def after_experiment_control(**_others: Any) -> None:
    """Disarm, and end the load when nobody else will."""
    end()


def after_activity_control(context: Mapping[str, Any], state: Mapping[str, Any] | None = None, **_others: Any) -> None:
    """Write failed activities down: the verdict has to know."""
    if sessions.begun() and state and state.get("status") == "failed":
        reason = str((state.get("exception") or ["?"])[-1]).strip()
        sessions.current().recording.mark(time.time(), "failed", f"{context.get('name')}: {reason}")


def before_rollback_control(**_others: Any) -> None:
    """From here on only repairs: an abort would cut them short."""
    experiment_finished.set()


def end() -> None:
    """Disarm the safeguards; end the session too, if this control has begun it. Harmless when repeated."""
    global _alone
    experiment_finished.set()
    safeguards.guardian.terminate()
    if _alone:
        _alone = False
        session = sessions.current()
        session.lift()
        session.stop()


def _session(experiment: Mapping[str, Any]) -> Session:
    global _alone
    if sessions.begun():
        return sessions.current()
    _alone = True
    target = targets.chosen()
    definition = sessions.definition_of(experiment)
    run = f"{definition.scenario}-{time.strftime('%Y%m%d-%H%M%S')}"
    session = Session(definition, target, target.runs / run, run=run, seed=1)
    sessions.begin(session)
    return session


def _safeguard(abort: Abort) -> dict[str, Any]:
    return {
        "name": "customers-are-served",
        "type": "probe",
        "tolerance": True,
        "frequency": abort.probe_seconds,
        "provider": {"type": "python", "module": "chaos.probes.customers", "func": "may_go_on"},
    }
