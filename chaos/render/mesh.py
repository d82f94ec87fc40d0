"""Objects of Chaos Mesh: one an experiment, and a Workflow a weekday with the gate beside every fault."""

from collections.abc import Iterable, Mapping
from typing import Any

from chaos.definition import Definition
from chaos.render import cluster
from chaos.render.fault import Fault
from chaos.render.gates import STEADY

API = "chaos-mesh.org/v1alpha1"

_PROBE_SECONDS, _PROBE_TIMEOUT_SECONDS = 2, 2
_AT = (10, 0)
_CRON_DAYS = {"monday": 1, "tuesday": 2, "wednesday": 3, "thursday": 4, "friday": 5, "saturday": 6, "sunday": 0}
_LATE_SECONDS = 600
_WINDOW_SECONDS = 60
"""So long the gate's queries remember a fault that has ended."""

_CHAOS_FIELDS = {"HTTPChaos": "httpChaos", "IOChaos": "ioChaos", "DNSChaos": "dnsChaos"}

Document = dict[str, Any]


def experiment(name: str, fault: Fault, seconds: float) -> Document:
    """One experiment by itself: it begins when it is created, and ends by itself after `seconds`."""
    spec = dict(fault.spec)
    if not fault.is_an_instant:
        spec["duration"] = _go(seconds)
    return _object(fault.kind, name, spec)


def schedule(
    day: str, names: Iterable[str], faults: Mapping[str, Fault | None], of: Mapping[str, Definition]
) -> Document:
    """A weekday's Workflow, at 10:00 in the time zone of Chaos Mesh's controller: UTC, unless it was told otherwise."""
    hour, minute = _AT
    return _object(
        "Schedule",
        f"chaos-{day}",
        {
            "schedule": f"{minute} {hour} * * {_CRON_DAYS[day]}",
            "type": "Workflow",
            "concurrencyPolicy": "Forbid",
            "historyLimit": 4,
            "startingDeadlineSeconds": _LATE_SECONDS,
            "workflow": workflow(names, faults, of),
        },
    )


def drill(names: Iterable[str], faults: Mapping[str, Fault | None], of: Mapping[str, Definition]) -> Document:
    """The same as a Workflow to run by hand."""
    return _object("Workflow", "chaos-drill", workflow(names, faults, of))


def workflow(names: Iterable[str], faults: Mapping[str, Fault | None], of: Mapping[str, Definition]) -> Document:
    """Each experiment in turn. `None` as a fault is a control: the gate watches, and nothing is broken.

    The platform has to be steady before the first and again after each; the gate watches beside every fault. When it
    says no twice in a row the Workflow is aborted, and Chaos Mesh takes back what it has put in.
    """
    chosen = list(names)
    children: list[str] = ["begins-steady"]
    templates: list[Document] = [_settles("begins-steady", 60)]
    for name in chosen:
        fault, definition = faults[name], of[name]
        lasts = definition.fault_seconds
        if fault is None:
            templates.append(_watches(name, name, lasts))
            children.append(name)
            continue
        if fault.times > 1:
            lasts = max(lasts, fault.times * fault.every_seconds)
        breaks, watches, settles = f"{name}-fault", f"{name}-gate", f"{name}-settles"
        templates.append(_composite(name, "Parallel", [breaks, watches], lasts + 30))
        templates += _fault(breaks, fault, definition.fault_seconds)
        templates.append(_watches(watches, name, lasts))
        templates.append(_settles(settles, definition.recovery.within_seconds + _WINDOW_SECONDS))
        children += [name, settles]
    longest = sum(_seconds(each["deadline"]) for each in templates if each["name"] in children)
    return {"entry": "drill", "templates": [_composite("drill", "Serial", children, longest + 60), *templates]}


def _fault(name: str, fault: Fault, seconds: float) -> list[Document]:
    if fault.times == 1:
        return [_chaos(name, fault, seconds)]
    once = _chaos(f"{name}-once", fault, fault.every_seconds)
    whole = fault.times * fault.every_seconds
    return [_composite(name, "Serial", [once["name"]] * fault.times, whole + 15), once]


def _chaos(name: str, fault: Fault, seconds: float) -> Document:
    field = _CHAOS_FIELDS.get(fault.kind, fault.kind[0].lower() + fault.kind[1:])
    return {"name": name, "templateType": fault.kind, "deadline": _go(seconds), field: dict(fault.spec)}


def _composite(name: str, kind: str, children: list[str], seconds: float) -> Document:
    return {"name": name, "templateType": kind, "deadline": _go(seconds), "children": children}


def _watches(name: str, objective: str, seconds: float) -> Document:
    """Asks all the time, and ends the Workflow at the second no in a row."""
    return _check(name, objective, seconds, "Continuous", {"failureThreshold": 2, "successThreshold": 1})


def _settles(name: str, seconds: float) -> Document:
    """Waits for two yeses in a row, and ends the Workflow when none come in time."""
    patience = int(seconds // _PROBE_SECONDS)
    return _check(name, STEADY, seconds, "Synchronous", {"failureThreshold": patience, "successThreshold": 2})


def _check(name: str, objective: str, seconds: float, mode: str, thresholds: Mapping[str, int]) -> Document:
    return {
        "name": name,
        "templateType": "StatusCheck",
        "deadline": _go(seconds),
        "abortWithStatusCheck": True,
        "statusCheck": {
            "mode": mode,
            "type": "HTTP",
            "intervalSeconds": _PROBE_SECONDS,
            "timeoutSeconds": _PROBE_TIMEOUT_SECONDS,
            **thresholds,
            "http": {
                "url": f"{cluster.GATE}/slo/{objective}",
                "method": "GET",
                "criteria": {"statusCode": "200"},
            },
        },
    }


def _object(kind: str, name: str, spec: Document) -> Document:
    metadata = {"name": name, "namespace": cluster.NAMESPACE, "labels": dict(cluster.PART_OF)}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}


def _go(seconds: float) -> str:
    return f"{seconds:g}s"


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))
