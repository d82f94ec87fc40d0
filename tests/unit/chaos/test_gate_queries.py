"""What the gate's queries say when something happens: Prometheus evaluates them over made-up series."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from chaos.gate import objectives
from tests.fixtures.promtool import promtool

ORDER = 'service="order",handler="/orders",method="POST"'
BUCKETS = ("0.5", "1.0", "2.5", "5.0", "10.0", "+Inf")


def requests(good: int, bad: int) -> dict[str, str]:
    """Requests for orders, so many in fifteen seconds."""
    return {
        f'http_requests_total{{{ORDER},status="201"}}': f"0+{good}x40",
        f'http_requests_total{{{ORDER},status="503"}}': f"0+{bad}x40",
    }


def took(*, quick: int, late: int) -> dict[str, str]:
    """Of the requests in fifteen seconds, those within half a second and those that took between 5 and 10."""
    grown = {bound: quick if float(bound) <= 5 else quick + late for bound in BUCKETS}
    series = {
        f'http_request_duration_seconds_bucket{{{ORDER},status="201",le="{bound}"}}': f"0+{step}x40"
        for bound, step in grown.items()
    }
    return series | {f'http_request_duration_seconds_count{{{ORDER},status="201"}}': f"0+{quick + late}x40"}


def case(series: Mapping[str, str], expected: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """After five minutes, a scrape every 15 s, each check of an objective must read just what is expected."""
    known = objectives.read()
    asked = []
    for name, readings in expected.items():
        for check in known[name].checks:
            labels = "{}" if check.reading == "p99_seconds" else '{service="order"}'
            value, expr = readings.get(check.reading), check.promql
            if value is not None and math.isnan(value):  # which equals nothing, itself included
                labels, value, expr = "{}", 1.0, f"count({expr} != {expr})"
            samples = [] if value is None else [{"labels": labels, "value": value}]
            asked.append({"expr": expr, "eval_time": "5m", "exp_samples": samples})
    return {
        "interval": "15s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": asked,
    }


def test_the_queries_read_what_customers_saw_and_nothing_where_nothing_was_counted(tmp_path: Path) -> None:
    healthy = requests(100, 0) | took(quick=100, late=0)
    broken = requests(60, 40) | took(quick=50, late=50)
    never_failed = {name: values for name, values in healthy.items() if "503" not in name}
    steady = ("order_availability_bad_share", "order_latency_bad_share", "error_rate_bad_share")
    tests = [
        case(
            healthy, {"payment-down": {"served_share": 1.0, "p99_seconds": 0.495}, "steady": dict.fromkeys(steady, 0.0)}
        ),
        case(never_failed, {"payment-down": {"served_share": 1.0, "p99_seconds": 0.495}}),
        case(
            broken,
            {
                "payment-down": {"served_share": 0.6, "p99_seconds": 9.9},
                "steady": {steady[0]: 0.4, steady[1]: 0.5, steady[2]: 0.4},
            },
        ),
        # an idle minute, and no service at all
        case(requests(0, 0) | took(quick=0, late=0), {"payment-down": {"p99_seconds": math.nan}, "steady": {}}),
        case({}, {"payment-down": {}, "steady": {}}),
    ]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": tests}))
    promtool("test", "rules", path)
