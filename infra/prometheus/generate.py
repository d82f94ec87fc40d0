"""Writes `rules/slo.yaml` and `rules/symptoms.yaml`: `make rules`.

For every objective and window a recording rule holds the share of bad requests, `slo:bad_requests:ratio_rate<window>`.
Alerts compare two windows each (Google, The Site Reliability Workbook, chapter 5: multiwindow, multi-burn-rate): the
long one shows that it matters, the short one that it is still going on.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from infra.prometheus.objectives import (
    HERE,
    BurnRate,
    Links,
    Objective,
    Objectives,
    Symptom,
    read_objectives,
    read_symptoms,
)

RULES = HERE / "rules"

Rule = dict[str, Any]

_HEADER = "# Written by `make rules` from {source}: change that, not this.\n"
_SPEED = {"page": "Fast", "ticket": "Slowly"}
# Long windows move slowly and are dear to evaluate.
_INTERVAL, _LONG_INTERVAL = "15s", "1m"
_SHORT_WINDOWS = frozenset({"5m", "30m", "1h"})


def rendered() -> dict[str, str]:
    """Every generated file, by name."""
    slo = read_objectives()
    symptoms = [_symptom(each, slo.links) for each in read_symptoms()]
    return {
        "slo.yaml": _dump("slo.yaml", objective_groups(slo)),
        "symptoms.yaml": _dump("symptoms.yaml", [{"name": "symptoms", "rules": symptoms}]),
    }


def main() -> int:
    """Write the files."""
    for name, text in rendered().items():
        path: Path = RULES / name
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{path}\n")
    return 0


def objective_groups(slo: Objectives) -> list[Rule]:
    """Recording rules and alerts of every objective."""
    windows = _windows(slo.burn_rates)
    groups = []
    for each in slo.objectives:
        short = [_ratio(each, window) for window in windows if window in _SHORT_WINDOWS]
        long = [_ratio(each, window) for window in windows if window not in _SHORT_WINDOWS]
        groups += [
            # The budget is read from recorded rates, which is cheap, and a page that has just been opened shows it.
            {
                "name": f"{each.name}-short",
                "interval": _INTERVAL,
                "rules": [*_rates(each), *short, *_budget(each, slo.period)],
            },
            {"name": f"{each.name}-long", "interval": _LONG_INTERVAL, "rules": long},
            {"name": f"{each.name}-alerts", "rules": list(_burn_alerts(each, slo))},
        ]
    return groups


def _windows(burn_rates: Iterable[BurnRate]) -> list[str]:
    pairs = [(rate.short, rate.long) for rate in burn_rates]
    return list(dict.fromkeys(window for pair in pairs for window in pair))


def _bad(each: Objective, window: str) -> str:
    if each.good:
        # Never below zero: the two counters of a histogram are not scraped at exactly the same moment.
        return f"clamp_min({_total(each, window)} - {_sum(each.good, window)}, 0)"
    # A service that never failed has no series of failures: that is 0, not unknown.
    return f"({_sum(each.bad, window)} or 0 * {_total(each, window)})"


def _total(each: Objective, window: str) -> str:
    return _sum(each.total, window)


def _sum(selector: str, window: str) -> str:
    return f"sum by (service) (rate({selector}[{window}]))"


def _ratio(each: Objective, window: str) -> Rule:
    # Without requests there is no share: the series ends instead of being NaN.
    expr = f"{_bad(each, window)} / ({_total(each, window)} > 0)"
    return {"record": f"slo:bad_requests:ratio_rate{window}", "expr": expr, "labels": {"slo": each.name}}


def _rates(each: Objective) -> list[Rule]:
    labels = {"slo": each.name}
    return [
        {"record": "slo:bad_requests:rate5m", "expr": _bad(each, "5m"), "labels": labels},
        {"record": "slo:requests:rate5m", "expr": _total(each, "5m"), "labels": labels},
    ]


def _budget(each: Objective, period: str) -> list[Rule]:
    chosen = f'{{slo="{each.name}"}}'
    labels = {"slo": each.name}
    # Over the recorded rates: a month of the raw counters would be read anew every minute.
    month = (
        f"sum_over_time(slo:bad_requests:rate5m{chosen}[{period}])"
        f" / (sum_over_time(slo:requests:rate5m{chosen}[{period}]) > 0)"
    )
    spent = f"slo:bad_requests:ratio_rate{period}{chosen} / {each.budget}"
    burning = f"slo:bad_requests:ratio_rate1h{chosen} / {each.budget}"
    return [
        {"record": f"slo:bad_requests:ratio_rate{period}", "expr": month, "labels": labels},
        {"record": "slo:error_budget:left_ratio", "expr": f"1 - {spent}", "labels": labels},
        {"record": "slo:burn_rate:1h", "expr": burning, "labels": labels},
    ]


def _burn_alerts(each: Objective, slo: Objectives) -> Iterable[Rule]:
    for severity, speed in _SPEED.items():
        conditions = [_burning(each, rate) for rate in slo.burn_rates if rate.severity == severity]
        if conditions:
            summary = f"{{{{ $labels.service }}}} uses up its error budget {speed.lower()}: {each.promise}"
            alert, expr = f"{each.alert}Burns{speed}", " or ".join(conditions)
            yield _alert(alert, expr, "0s", severity, summary, each.dashboard, slo.links)


def _burning(each: Objective, rate: BurnRate) -> str:
    over = [
        f'slo:bad_requests:ratio_rate{window}{{slo="{each.name}"}} > {rate.factor:g} * {each.budget}'
        for window in (rate.long, rate.short)
    ]
    return f"({over[0]} and {over[1]})"


def _symptom(each: Symptom, links: Links) -> Rule:
    return _alert(each.alert, each.expr, each.lasting, each.severity, each.summary, each.dashboard, links)


def _alert(name: str, expr: str, lasting: str, severity: str, summary: str, dashboard: str, links: Links) -> Rule:
    wait = {} if lasting == "0s" else {"for": lasting}
    return {
        "alert": name,
        "expr": expr,
        **wait,
        "labels": {"severity": severity},
        "annotations": {
            "summary": summary,
            "runbook_url": f"{links.runbooks}/{name}.md",
            "dashboard": _dashboard(dashboard, links),
        },
    }


def _dashboard(uid: str, links: Links) -> str:
    # the page of one service opens with the one that the alert is about
    chosen = "?var-service={{ $labels.service }}" if uid == "service" else ""
    return f"{links.dashboards}/{uid}{chosen}"


def _dump(source: str, groups: list[Rule]) -> str:
    class Plain(yaml.SafeDumper):
        """No anchors: the rules' labels are shared objects, and readers should not have to follow them."""

        def ignore_aliases(self, _data: Any) -> bool:
            return True

    text = yaml.dump({"groups": groups}, Dumper=Plain, sort_keys=False, width=118, allow_unicode=True)
    return _HEADER.format(source=source) + text


if __name__ == "__main__":
    sys.exit(main())
