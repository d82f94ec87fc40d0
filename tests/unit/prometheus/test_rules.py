"""Objectives, the rules that are generated from them, and what proves each alert."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.prometheus.generate import RULES, rendered
from infra.prometheus.objectives import HERE, read_objectives
from services.order import error_budget
from shared.chassis.metrics import BUCKETS
from tests.fixtures.promtool import promtool

ROOT = Path(__file__).parents[3]
RULE_TESTS = sorted((HERE / "tests").glob("*.yaml"))
RUNBOOKS = ROOT / "docs" / "runbooks"
UNTOLD = ("experiment-hurts", "predictions-poor", "traces-missing")
"""Troubles that no alert tells of, and people ask about."""


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rules() -> list[dict[str, Any]]:
    files = [read(path) for path in sorted(RULES.glob("*.yaml"))]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}


def cases(alert: str) -> list[bool]:
    """For each case of a rule test about this alert: whether it must fire."""
    tests = [test for path in RULE_TESTS for test in read(path)["tests"]]
    found = [case for test in tests for case in test.get("alert_rule_test", []) if case["alertname"] == alert]
    return [bool(case["exp_alerts"]) for case in found]


def test_the_committed_rules_are_what_the_generator_writes() -> None:
    committed = {name: (RULES / name).read_text(encoding="utf-8") for name in rendered()}
    assert committed == rendered(), "run: make rules"
    assert {path.name for path in RULES.glob("*.yaml")} == {*committed, "tutorial.yaml"}


def test_promtool_accepts_every_rule() -> None:
    said = promtool("check", "rules", *sorted(RULES.glob("*.yaml")))
    assert said.count("SUCCESS") == len(list(RULES.glob("*.yaml")))


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_every_alert_fires_when_it_should_and_not_when_it_should_not(path: Path) -> None:
    assert "SUCCESS" in promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_rule_test_that_fires_it_and_one_that_does_not(alert: str) -> None:
    assert set(cases(alert)) == {True, False}


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_names_a_severity_a_dashboard_and_a_runbook_that_exists(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert rule["annotations"]["dashboard"].startswith("/d/")
    assert rule["annotations"]["runbook_url"] == f"docs/runbooks/{alert}.md"
    page = (ROOT / rule["annotations"]["runbook_url"]).read_text(encoding="utf-8")
    assert [part for part in (f"# {alert}\n", "## Look", "## Do", "## Over when") if part not in page] == []


def test_every_runbook_is_an_alerts_or_of_a_trouble_that_none_tells_of() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("*.md")}
    assert pages == {*ALERTS, *UNTOLD, "README"}


@pytest.mark.parametrize("name", [*ALERTS, *UNTOLD])
def test_a_runbook_says_how_to_reproduce_its_trouble_and_when_it_is_over(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8")
    assert [part for part in ("**Customers notice:**", "## Look", "## Do", "## Over when") if part not in page] == []
    reproduction = page.partition("## Reproduce\n")[2].partition("\n## ")[0]
    assert "make " in reproduction or "curl " in reproduction


def test_burn_rates_are_those_of_the_sre_workbook() -> None:
    found = [(rate.factor, rate.long, rate.short, rate.severity) for rate in read_objectives().burn_rates]
    assert found == [
        (14.4, "1h", "5m", "page"), (6, "6h", "30m", "page"), (3, "1d", "2h", "ticket"), (1, "3d", "6h", "ticket"),
    ]  # fmt: skip


def test_the_error_budget_endpoint_judges_by_the_same_promises() -> None:
    promised = {each.name: each for each in read_objectives().objectives}
    assert promised["order-availability"].objective == error_budget.AVAILABILITY
    assert promised["error-rate"].budget == error_budget.ERROR_RATE
    assert promised["order-latency"].objective == 0.99
    assert f'le="{error_budget.LATENCY_P99_SECONDS}"' in promised["order-latency"].good
    assert error_budget.LATENCY_P99_SECONDS in BUCKETS
    assert read_objectives().period == error_budget.WINDOW


@pytest.mark.parametrize("counted", ["", "bad: b\n    good: g"])
def test_an_objective_that_counts_in_no_way_or_in_two_is_refused(tmp_path: Path, counted: str) -> None:
    text = (HERE / "slo.yaml").read_text(encoding="utf-8")
    path = tmp_path / "slo.yaml"
    path.write_text(text.replace('bad: http_requests_total{service!="control_room",status=~"5.."}', counted))
    with pytest.raises(ValidationError, match="either `bad` or `good`"):
        read_objectives(path)
