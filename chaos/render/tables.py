"""The page beside the manifests: what each experiment is in a cluster."""

from collections.abc import Mapping
from typing import Any

from chaos.render.faults import Fault

_TOP = """\
<!-- Written by `make chaos-manifests`. -->
# Chaos Mesh

For Chaos Mesh 2.8, installed with `enableFilterNamespace`. How to use it: [docs/chaos.md](../../docs/chaos.md#kubernetes).

| where | what | applied |
|---|---|---|
| [experiments](experiments) | one object an experiment, which begins when it is created and ends by itself | by hand |
| [week](week) | a Schedule for each weekday, from [weekly.yaml](../weekly.yaml); the gate watches beside every fault | `kubectl apply -k chaos/mesh/week` |
| [drill.yaml](drill.yaml) | Friday's Workflow, to run by hand | `kubectl create -f` |
| [istio](istio) | HTTP faults for pods with a proxy, where HTTPChaos does not act | by hand, instead of the experiment's own file |
| [dns-drill](dns-drill) | a kustomize component: without it DNSChaos cannot act on our pods | in an overlay, for the drill |
"""


def readme(
    files: Mapping[str, Mapping[str, Any]], faults: Mapping[str, Fault], reasons: Mapping[str, str]
) -> str:
    """The page: every experiment stands in one of its two tables."""
    rows = [
        f"| [{name}](experiments/{name}.yaml) | {_what(fault)} | "
        f"{f'[istio](istio/{name}.yaml)' if fault.http else 'the same'} | {fault.differs or 'no'} |"
        for name, fault in faults.items()
    ]
    missing = [f"| `{name}` | {files[name]['title']} | {reason} |" for name, reason in reasons.items()]
    return "\n".join(
        [
            _TOP,
            "## Experiments",
            "",
            "| experiment | object | with a proxy | differs from the local stack |",
            "|---|---|---|---|",
            *rows,
            "",
            "## Not here",
            "",
            "| experiment | | reason |",
            "|---|---|---|",
            *missing,
            "",
        ]
    )


def _what(fault: Fault) -> str:
    spec = fault.spec
    action = spec.get("action") or ", ".join(key for key in ("abort", "delay", "replace", "stressors") if key in spec)
    which = {"one": "one pod", "all": "all pods"}.get(spec["mode"], f"{spec.get('value')} % of the pods")
    labels = ", ".join(f"{key}={value}" for key, value in spec["selector"]["labelSelectors"].items())
    return f"{fault.kind}{f' {action}' if action else ''}, {which} of `{labels}`"
