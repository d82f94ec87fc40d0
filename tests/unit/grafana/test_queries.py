"""What the queries say when something happens: Prometheus evaluates them over series that are made up for each case."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.dashboards import filled_in, panels, read_all
from tests.fixtures.promtool import promtool

ALL = read_all()
UP = {'up{job="services",service="order",instance="order-1"}': "1+0x100"}


def expression(uid: str, title: str, query: int = 0) -> str:
    (panel,) = [panel for panel in panels(ALL[uid]) if panel["title"] == title]
    return filled_in(panel["targets"][query]["expr"], {"service": ".*", "instance": ".*"})


def annotation(uid: str, name: str) -> str:
    return next(each["expr"] for each in ALL[uid]["annotations"]["list"] if each["name"] == name)


def says(tmp_path: Path, series: dict[str, str], expr: str, expected: dict[str, float]) -> None:
    """Evaluate `expr` after five minutes of `series`, a sample every five seconds."""
    case: dict[str, Any] = {
        "interval": "5s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": expr,
                "eval_time": "5m",
                "exp_samples": [{"labels": labels, "value": value} for labels, value in expected.items()],
            }
        ],
    }
    path = tmp_path / "case.yaml"
    path.write_text(yaml.safe_dump({"evaluation_interval": "5s", "tests": [case]}))
    promtool("test", "rules", path)


PROBABILITY = UP | {
    'up{job="services",service="payment",instance="payment-1"}': "1+0x100",
    'failure_probability{service="order"}': "0.75+0x100",
}
OUTCOMES = {
    f'prediction_outcomes_total{{service="order",outcome="{outcome}"}}': f"0+{step}x100"
    for outcome, step in {"true_positive": 3, "false_positive": 1, "false_negative": 2, "true_negative": 9}.items()
}


@pytest.mark.parametrize(
    ("series", "title", "expected"),
    [
        (UP, "Failure probability", {'{service="order"}': -1}),
        (PROBABILITY, "Failure probability", {'{service="order"}': 0.75, '{service="payment"}': -1}),
        (UP, "Predictor", {"{}": 0}),
        (PROBABILITY, "Predictor", {"{}": 1}),
        (UP, "Precision", {"{}": -1}),
        (OUTCOMES, "Precision", {"{}": 0.75}),
        (OUTCOMES, "Recall", {"{}": 0.6}),
        (UP, "Drift by feature", {'{feature="no predictor"}': -1}),
        ({'prediction_drift{feature="cpu"}': "0.3+0x100"}, "Drift by feature", {'{feature="cpu"}': 0.3}),
    ],
)
def test_without_a_predictor_nothing_is_known_and_with_one_its_numbers_are_shown(
    tmp_path: Path, series: dict[str, str], title: str, expected: dict[str, float]
) -> None:
    says(tmp_path, series, expression("prediction", title), expected)


STATE = 'resilience4j_circuitbreaker_state{service="order",instance="%s",name="payment",state="%s"}'
OPEN_IN_ONE = {
    STATE % (instance, state): f"{int(state == now)}+0x100"
    for instance, now in (("order-1", "closed"), ("order-2", "open"))
    for state in ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")
}


def test_a_breaker_is_shown_in_its_worst_state_and_on_its_edge(tmp_path: Path) -> None:
    says(tmp_path, OPEN_IN_ONE, expression("overview", "Breakers"), {'{service="order",name="payment"}': 2})
    says(tmp_path, OPEN_IN_ONE, expression("overview", "Edges", 3), {'{service="order",to="payment"}': 2})
    each = {'{instance="order-1",name="payment"}': 0, '{instance="order-2",name="payment"}': 2}
    says(tmp_path, OPEN_IN_ONE, expression("resilience", "State"), each)
    says(tmp_path, OPEN_IN_ONE, expression("overview", "Breakers not closed"), {"{}": 1})


def test_a_fault_is_marked_while_it_is_there_and_not_before(tmp_path: Path) -> None:
    series = {'faults_active{service="payment",instance="payment-1",kind="http"}': "0+0x50 3+0x50"}
    labels = '{service="payment",instance="payment-1",kind="http"}'
    marks = annotation("chaos", "Faults")
    says(tmp_path, series, marks, {labels: 1})
    says(tmp_path, dict.fromkeys(series, "0+0x100"), marks, {labels: 0})
    says(tmp_path, series, expression("chaos", "Faults"), {labels: 3})


def test_half_of_the_calls_on_an_edge_failing_is_half_and_one_retry_a_call_is_two_attempts(tmp_path: Path) -> None:
    calls = 'http_client_request_duration_seconds_count{service="order",to="payment",outcome="%s"}'
    series = {calls % outcome: f"0+{step}x100" for outcome, step in {"answered": 10, "failed": 6, "cut": 4}.items()}
    says(tmp_path, series, expression("overview", "Edges", 1), {'{service="order",to="payment"}': 0.5})
    series = {
        'resilience4j_retry_calls_total{service="order",name="payment.process",kind="failed_with_retry"}': "0+5x100",
        'resilience_retry_attempts_total{service="order",name="payment.process"}': "0+5x100",
    }
    says(tmp_path, series, expression("resilience", "Amplification"), {'{name="payment.process"}': 2})


def test_a_service_that_never_failed_has_no_errors_and_one_that_did_has_its_share(tmp_path: Path) -> None:
    requests = 'http_requests_total{service="%s",handler="/orders",method="POST",status="%s"}'
    series = {requests % ("order", 201): "0+3x100", requests % ("order", 504): "0+1x100"}
    series[requests % ("payment", 200)] = "0+2x100"
    shares = {'{service="order"}': 0.25, '{service="payment"}': 0}
    says(tmp_path, series, expression("overview", "Errors"), shares)


def test_revenue_is_in_whole_euros_and_whole_yen(tmp_path: Path) -> None:
    captured = 'payment_amount_minor_total{service="payment",currency="%s"}'
    series = {captured % "EUR": "0+1000x100", captured % "JPY": "0+1000x100"}
    # each five seconds ten euros and a thousand yen
    expected = {'{currency="EUR"}': 120, '{currency="JPY"}': 12_000}
    says(tmp_path, series, expression("orders", "Revenue a minute"), expected)
