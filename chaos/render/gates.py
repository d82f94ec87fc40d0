"""What the gate can be asked: the objectives of the platform, and how far each experiment may go."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chaos.definition import Definition

SLO = Path(__file__).resolve().parents[2] / "infra" / "prometheus" / "slo.yaml"
STEADY = "steady"
WINDOW = "1m"
"""Four scrapes: shorter, and one that is missed leaves no rate."""

_P99_MEASURED_BELOW = 9.9
"""The histogram's last bucket ends at 10 s: a percentile beyond it is read as 10."""

Check = dict[str, Any]


def objectives(definitions: Mapping[str, Definition]) -> list[dict[str, Any]]:
    """The gate's file: the platform's objectives one by one, all of them as `steady`, and one for each experiment.

    To begin, a budget may not burn faster than what pages somebody. To go on, what the experiment's abort says.
    """
    slo = yaml.safe_load(SLO.read_text(encoding="utf-8"))
    fastest = max(rate["factor"] for rate in slo["burn_rates"])
    single = [
        {"name": each["name"], "checks": [_bad_share(each, round(fastest * (1 - each["objective"]), 6))]}
        for each in slo["objectives"]
    ]
    steady = {"name": STEADY, "checks": [check for each in single for check in each["checks"]]}
    by_name = {each["name"]: each for each in slo["objectives"]}
    return [*single, steady, *({"name": name, "checks": limits(one, by_name)} for name, one in definitions.items())]


def limits(definition: Definition, by_name: Mapping[str, Any] | None = None) -> list[Check]:
    """How far an experiment may go, as queries: customers who are served, and how long they wait."""
    if by_name is None:
        by_name = {each["name"]: each for each in yaml.safe_load(SLO.read_text(encoding="utf-8"))["objectives"]}
    availability, latency = by_name["order-availability"], by_name["order-latency"]
    buckets = str(latency["total"]).replace("_count{", "_bucket{")
    p99 = f"histogram_quantile(0.99, sum by (le) (rate({buckets}[{WINDOW}])))"
    return [
        {
            "reading": "served_share",
            "promql": f"1 - {_bad(availability)}",
            "at_least": definition.abort.success_below,
        },
        {
            "reading": "p99_seconds",
            "promql": p99,
            "at_most": min(definition.abort.p99_above_seconds, _P99_MEASURED_BELOW),
        },
    ]


def _bad_share(objective: Mapping[str, Any], at_most: float) -> Check:
    return {
        "reading": f"{str(objective['name']).replace('-', '_')}_bad_share",
        "promql": _bad(objective),
        "at_most": at_most,
    }


def _bad(objective: Mapping[str, Any]) -> str:
    """The share of bad requests by service. No requests at all have no share, and no series; none of them bad is 0."""
    total = f"sum by (service) (rate({objective['total']}[{WINDOW}]))"
    if objective.get("good"):
        good = f"sum by (service) (rate({objective['good']}[{WINDOW}]))"
        return f"(1 - {good} / ({total} > 0))"
    bad = f"sum by (service) (rate({objective['bad']}[{WINDOW}]))"
    return f"(({bad} or 0 * {total}) / ({total} > 0))"
