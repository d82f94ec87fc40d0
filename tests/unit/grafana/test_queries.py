"""What the queries say when something happens: Prometheus evaluates them over series that are made up for each case."""

from pathlib import Path
from typing import Any, NamedTuple

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


class Case(NamedTuple):
    """After five minutes of `series`, a sample every five seconds, the query must say just what is expected."""

    series: dict[str, str]
    expr: str
    expected: dict[str, float]

    def as_promtool_reads_it(self) -> dict[str, Any]:
        samples = [{"labels": labels, "value": value} for labels, value in self.expected.items()]
        return {
            "interval": "5s",
            "input_series": [{"series": name, "values": values} for name, values in self.series.items()],
            "promql_expr_test": [{"expr": self.expr, "eval_time": "5m", "exp_samples": samples}],
        }


def hold(directory: Path, *cases: Case) -> None:
    """All in one run of promtool: its start costs more than they do."""
    path = directory / "cases.yaml"
    tests = [case.as_promtool_reads_it() for case in cases]
    path.write_text(yaml.safe_dump({"evaluation_interval": "5s", "tests": tests}))
    promtool("test", "rules", path)


PROBABILITY = UP | {
    'up{job="services",service="payment",instance="payment-1"}': "1+0x100",
    'failure_probability{service="order"}': "0.75+0x100",
}
OUTCOMES = {
    f'prediction_outcomes_total{{service="order",outcome="{outcome}"}}': f"0+{step}x100"
    for outcome, step in {"true_positive": 3, "false_positive": 1, "false_negative": 2, "true_negative": 9}.items()
}


def test_without_a_predictor_nothing_is_known_and_with_one_its_numbers_are_shown(tmp_path: Path) -> None:
    expected: list[tuple[dict[str, str], str, dict[str, float]]] = [
        (UP, "Failure probability", {'{service="order"}': -1}),
        (PROBABILITY, "Failure probability", {'{service="order"}': 0.75, '{service="payment"}': -1}),
        (UP, "Predictor", {"{}": 0}),
        (PROBABILITY, "Predictor", {"{}": 1}),
        (UP, "Precision", {"{}": -1}),
        (OUTCOMES, "Precision", {"{}": 0.75}),
        (OUTCOMES, "Recall", {"{}": 0.6}),
        (UP, "Drift by feature", {'{feature="no predictor"}': -1}),
        ({'prediction_drift{feature="cpu"}': "0.3+0x100"}, "Drift by feature", {'{feature="cpu"}': 0.3}),
    ]
    hold(tmp_path, *(Case(series, expression("prediction", title), said) for series, title, said in expected))


STATE = 'resilience4j_circuitbreaker_state{service="order",instance="%s",name="payment",state="%s"}'
OPEN_IN_ONE = {
    STATE % (instance, state): f"{int(state == now)}+0x100"
    for instance, now in (("order-1", "closed"), ("order-2", "open"))
    for state in ("closed", "open", "half_open", "forced_open", "disabled", "metrics_only")
}


def test_a_breaker_is_shown_in_its_worst_state_and_on_its_edge(tmp_path: Path) -> None:
    each = {'{instance="order-1",name="payment"}': 0, '{instance="order-2",name="payment"}': 2}
    hold(
        tmp_path,
        Case(OPEN_IN_ONE, expression("overview", "Breakers"), {'{service="order",name="payment"}': 2}),
        Case(OPEN_IN_ONE, expression("overview", "Edges", 3), {'{service="order",to="payment"}': 2}),
        Case(OPEN_IN_ONE, expression("resilience", "State"), each),
        Case(OPEN_IN_ONE, expression("overview", "Breakers not closed"), {"{}": 1}),
    )


def test_a_fault_is_marked_while_it_is_there_and_not_before(tmp_path: Path) -> None:
    series = {'faults_active{service="payment",instance="payment-1",kind="http"}': "0+0x50 3+0x50"}
    quiet = dict.fromkeys(series, "0+0x100")
    labels = '{service="payment",instance="payment-1",kind="http"}'
    marks = annotation("chaos", "Faults")
    hold(
        tmp_path,
        Case(series, marks, {labels: 1}),
        Case(quiet, marks, {labels: 0}),
        Case(series, expression("chaos", "Faults"), {labels: 3}),
    )


def test_half_of_the_calls_on_an_edge_failing_is_half_and_one_retry_a_call_is_two_attempts(tmp_path: Path) -> None:
    calls = 'http_client_request_duration_seconds_count{service="order",to="payment",outcome="%s"}'
    edge = {calls % outcome: f"0+{step}x100" for outcome, step in {"answered": 10, "failed": 6, "cut": 4}.items()}
    retried = {
        'resilience4j_retry_calls_total{service="order",name="payment.process",kind="failed_with_retry"}': "0+5x100",
        'resilience_retry_attempts_total{service="order",name="payment.process"}': "0+5x100",
    }
    hold(
        tmp_path,
        Case(edge, expression("overview", "Edges", 1), {'{service="order",to="payment"}': 0.5}),
        Case(retried, expression("resilience", "Amplification"), {'{name="payment.process"}': 2}),
    )


def test_who_never_failed_has_no_errors_and_money_is_in_whole_euros_and_whole_yen(tmp_path: Path) -> None:
    requests = 'http_requests_total{service="%s",handler="/orders",method="POST",status="%s"}'
    asked = {requests % ("order", 201): "0+3x100", requests % ("order", 504): "0+1x100"}
    asked[requests % ("payment", 200)] = "0+2x100"
    captured = 'payment_amount_minor_total{service="payment",currency="%s"}'
    # each five seconds ten euros and a thousand yen
    paid = {captured % "EUR": "0+1000x100", captured % "JPY": "0+1000x100"}
    hold(
        tmp_path,
        Case(asked, expression("overview", "Errors"), {'{service="order"}': 0.25, '{service="payment"}': 0}),
        Case(paid, expression("orders", "Revenue a minute"), {'{currency="EUR"}': 120, '{currency="JPY"}': 12_000}),
    )
