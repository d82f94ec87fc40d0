"""The page beside the manifests: what each experiment is in a cluster."""

from collections.abc import Mapping
from typing import Any

from chaos.render.fault import Fault


def readme(files: Mapping[str, Mapping[str, Any]], faults: Mapping[str, Fault], reasons: Mapping[str, str]) -> str:
    """The page: every experiment stands in one of its two tables."""
    rows = [
        f"| [{name}]({name}.yaml) | {_what(fault)} | "
        f"{f'[istio](../istio/{name}.yaml)' if fault.http else 'the same'} | {fault.differs or 'no'} |"
        for name, fault in faults.items()
    ]
    missing = [f"| `{name}` | {files[name]['title']} | {reason} |" for name, reason in reasons.items()]
    return "\n".join(
        [
            "<!-- Written by `make chaos-manifests` from chaos/experiments. -->",
            "# Experiments on Chaos Mesh",
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
    action = spec.get("action") or ", ".join(
        [key for key in ("abort", "delay", "replace") if key in spec] + [*spec.get("stressors", ())]
    )
    which = {"one": "one pod", "all": "all pods"}.get(spec["mode"], f"{spec.get('value')} % of the pods")
    labels = ", ".join(f"{key}={value}" for key, value in spec["selector"]["labelSelectors"].items())
    return f"{fault.kind}{f' {action}' if action else ''}, {which} of `{labels}`"
