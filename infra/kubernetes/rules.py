"""Writes the PrometheusRule of components/monitoring from infra/prometheus/rules: part of `make rules`."""

import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
RULES = HERE.parent / "prometheus" / "rules"
WRITTEN = HERE / "components" / "monitoring" / "rules.yaml"

LEFT_OUT = frozenset({"tutorial-containers"})
"""Groups that stand in for cAdvisor, which a cluster has."""

_HEADER = "# Written by `make rules` from infra/prometheus/rules: change those, not this.\n"


def rendered() -> str:
    """The PrometheusRule as YAML: every group of every file, in the order of their names."""
    groups: list[Any] = []
    for path in sorted(RULES.glob("*.yaml")):
        groups += yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    document = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": "holdfast",
            "namespace": "holdfast",
            "labels": {"app.kubernetes.io/part-of": "holdfast"},
        },
        "spec": {"groups": [group for group in groups if group["name"] not in LEFT_OUT]},
    }
    return _HEADER + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def main() -> int:
    """Write the file."""
    WRITTEN.write_text(rendered(), encoding="utf-8")
    sys.stdout.write(f"{WRITTEN}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
