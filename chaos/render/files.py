"""Every file that is written, with its text."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chaos import definition
from chaos.definition import Definition
from chaos.render import faults, gates, istio, litmus, mesh, tables
from chaos.render.fault import Fault, NotExpressible
from chaos.render.writing import as_yaml, commented
from chaos.runner import plan

CHAOS = Path(__file__).resolve().parents[1]
GATE = CHAOS / "gate" / "objectives.yaml"
MESH, ISTIO, LITMUS = CHAOS / "mesh", CHAOS / "mesh" / "istio", CHAOS / "litmus"
WRITTEN = (MESH / "experiments", MESH / "week", ISTIO, LITMUS / "engines", LITMUS / "experiments")
"""Folders of which every YAML file but a kustomization is written here."""

ENGINES = ("replica-killed", "payment-latency", "cpu-starved", "memory-leak")
"""What Litmus runs, in this order: one experiment for each of its families."""

_WARNING = "Written by `make chaos-manifests` from chaos/experiments/{source}.yaml: change that, not this."


class Sources:
    """All experiments, read once: their files, extensions, and what they are in a cluster."""

    def __init__(self) -> None:
        self.files: dict[str, dict[str, Any]] = {name: definition.load(name) for name in definition.names()}
        self.of: dict[str, Definition] = {name: definition.of(each) for name, each in self.files.items()}
        self.faults: dict[str, Fault] = {}
        self.reasons: dict[str, str] = {}
        for name, each in self.files.items():
            try:
                self.faults[name] = faults.fault_of(each)
            except NotExpressible as reason:
                self.reasons[name] = str(reason)

    @property
    def runnable(self) -> dict[str, Fault | None]:
        """What a workflow can have as a step: faults, and controls as `None`."""
        return {name: self.faults.get(name) for name in self.files if name in self.faults or self.of[name].control}


def rendered() -> dict[Path, str]:
    """Every written file by its path."""
    sources = Sources()
    files = {
        GATE: _gate(sources),
        MESH / "experiments" / "README.md": tables.readme(sources.files, sources.faults, sources.reasons),
    }
    for name, fault in sources.faults.items():
        files[MESH / "experiments" / f"{name}.yaml"] = _experiment(name, sources)
        if fault.http:
            files[ISTIO / f"{name}.yaml"] = _istio(name, sources)
    week = plan.load()
    for day, planned in week.items():
        if planned:
            files[MESH / "week" / f"{day}.yaml"] = _day(day, planned, sources)
    files[MESH / "drill.yaml"] = _drill(week["friday"], sources)
    return files | _litmus(sources)


def _gate(sources: Sources) -> str:
    header = [
        "Written by `make chaos-manifests` from infra/prometheus/slo.yaml and chaos/experiments: change those.",
        "By experiment: how far it may go. `steady`: what must hold before it begins and after it has ended.",
    ]
    return commented(header, {"objectives": gates.objectives(sources.of)})


def _experiment(name: str, sources: Sources) -> str:
    fault, seconds = sources.faults[name], sources.of[name].fault_seconds
    ends = "Happens once, at once." if fault.is_an_instant else f"Ends by itself after {seconds:g} s."
    notes = _header(name, sources, fault.differs)
    return commented([*notes, f"{ends} Earlier: kubectl delete -f this file."], mesh.experiment(name, fault, seconds))


def _istio(name: str, sources: Sources) -> str:
    http = sources.faults[name].http
    if http is None:
        raise ValueError(f"{name} is no fault of HTTP")
    own = istio.OWN[http.service]
    ends = f"Has no end of its own. Ends with: kubectl apply -n holdfast -f infra/istio/{own}"
    return commented([*_header(name, sources, istio.differs(http)), ends], istio.routes(http))


def _day(day: str, planned: list[str], sources: Sources) -> str:
    header = [
        f"Written by `make chaos-manifests` from chaos/weekly.yaml: {day}'s experiments, one after the other.",
        *_left_out(planned, sources),
    ]
    names = [name for name in planned if name in sources.runnable]
    return commented(header, mesh.schedule(day, names, sources.runnable, sources.of))


def _drill(planned: list[str], sources: Sources) -> str:
    header = [
        "Written by `make chaos-manifests` from chaos/weekly.yaml: the full drill of Fridays, to run by hand.",
        *_left_out(planned, sources),
        "Begins when it is created: kubectl create -f this file. Ends with: kubectl delete -f this file.",
    ]
    names = [name for name in planned if name in sources.runnable]
    return commented(header, mesh.drill(names, sources.runnable, sources.of))


def _left_out(planned: list[str], sources: Sources) -> list[str]:
    return [
        line
        for name in planned
        if name not in sources.runnable
        for line in _wrapped(f"Not {name}: {sources.reasons[name]}.")
    ]


def _litmus(sources: Sources) -> dict[Path, str]:
    engines: dict[str, mesh.Document] = {}
    files: dict[Path, str] = {}
    for name in ENGINES:
        fault = sources.faults[name]
        family, service, env = litmus.family_of(fault)
        engines[name] = litmus.engine(name, family, service, env, sources.of[name])
        header = [
            *_header(name, sources, ""),
            f"By hand: kubectl create -f this file. Result: chaosresult/{name}-{family}",
        ]
        files[LITMUS / "engines" / f"{name}.yaml"] = commented(header, engines[name])
    for family in litmus.EXPERIMENTS:
        made = litmus.chaos_experiment(family)
        files[LITMUS / "experiments" / f"{family}.yaml"] = "# Written by `make chaos-manifests`.\n" + as_yaml(made)
    header = [
        "Written by `make chaos-manifests` from chaos/experiments: change those, not this.",
        "Each run is new: kubectl create -f this file. However it ends, `revert` takes everything back.",
    ]
    files[LITMUS / "workflow.yaml"] = commented(header, litmus.workflow(engines))
    return files


def _header(name: str, sources: Sources, differs: str) -> list[str]:
    radius: str = sources.of[name].blast_radius
    lines = [_WARNING.format(source=name), f"{sources.files[name]['title']}: {radius}."]
    return lines + (_wrapped(f"Not as in the local stack: {differs}.") if differs else [])


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 118)


def stale(files: Mapping[Path, str]) -> list[Path]:
    """Written files that nothing makes any more."""
    found = (path for folder in WRITTEN for path in folder.glob("*.yaml") if path.name != "kustomization.yaml")
    return sorted(path for path in found if path not in files)
