"""What is generated for Prometheus and Alertmanager."""

import json
from pathlib import Path

import pytest

from infra.local import prometheus
from infra.local.operator import operator_environment
from infra.local.programs import programs
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory
from tests.fixtures.promtool import promtool


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / ".local")
    made.create()
    return made


def names(settings: LocalSettings, state: StateDirectory) -> set[str]:
    return {program.name for program in programs(settings, state)}


def prometheus_url(settings: LocalSettings, state: StateDirectory) -> str:
    return next(each for each in programs(settings, state) if each.name == "order-1").environment["PROMETHEUS_URL"]


def test_services_and_operators_are_told_where_prometheus_is(state: StateDirectory) -> None:
    settings = LocalSettings(prometheus_port=9999, state_dir=state.path)
    assert {"prometheus", "alertmanager"} <= names(settings, state)
    assert prometheus_url(settings, state) == "http://127.0.0.1:9999"
    assert operator_environment(settings)["PROMETHEUS_URL"] == "http://127.0.0.1:9999"


@pytest.mark.parametrize("settings", [{"prometheus": "off"}, {"prometheus_url": "http://elsewhere:9090"}])
def test_no_prometheus_of_its_own_is_run_when_it_is_off_or_elsewhere(state: StateDirectory, settings) -> None:
    chosen = LocalSettings(**settings)
    assert {"prometheus", "alertmanager"}.isdisjoint(names(chosen, state))
    assert prometheus_url(chosen, state) == settings.get("prometheus_url", "")
    assert {"prometheus_port", "alertmanager_port"}.isdisjoint(name for name, _port in chosen.ports())
    prometheus.write_configuration(chosen, state)
    assert [path.name for path in state.run.iterdir()] == ["targets"]


def test_promtool_accepts_the_configuration_with_all_its_rules(state: StateDirectory) -> None:
    prometheus.write_configuration(LocalSettings(scrape_seconds=1), state)
    said = promtool("check", "config", state.run / "prometheus.yml")
    assert "3 rule files found" in said


def test_targets_carry_service_replica_and_version(state: StateDirectory) -> None:
    target = prometheus.Target("payment-v2-1", "[::1]:8121", "payment", "v2")
    prometheus.write_targets(state, [target])
    assert json.loads((state.run / "targets" / "services.json").read_text()) == [
        {
            "targets": ["[::1]:8121"],
            "labels": {"service": "payment", "instance": "payment-v2-1", "api_version": "v2"},
        }
    ]


def test_samples_are_kept_for_a_time_and_a_size_and_nothing_leaves_loopback(state: StateDirectory) -> None:
    settings = LocalSettings(bind="0.0.0.0", prometheus_days=7, prometheus_mb=99)
    commands = prometheus.commands(settings, state)
    assert {"--storage.tsdb.retention.time=7d", "--storage.tsdb.retention.size=99MB"} <= set(commands["prometheus"])
    assert "--web.listen-address=127.0.0.1:9090" in commands["prometheus"]
    assert "--web.listen-address=127.0.0.1:9093" in commands["alertmanager"]
    assert "--cluster.listen-address=" in commands["alertmanager"]


@pytest.mark.parametrize(("url", "hooks"), [("", 0), ("http://127.0.0.1:1/alerts?token=t", 1)])
def test_alerts_go_to_the_page_and_to_the_webhook_that_was_chosen(state: StateDirectory, url: str, hooks: int) -> None:
    prometheus.write_configuration(LocalSettings(alert_webhook_url=url), state)
    path = state.run / "alertmanager.yml"
    (receiver,) = json.loads(path.read_text())["receivers"]
    page, *others = receiver["webhook_configs"]
    assert page["url"] == "http://127.0.0.1:8088/alerts"
    assert page["http_config"]["authorization"] == {
        "credentials_file": str(state.secrets / "control_room" / "alert_token")
    }
    assert [hook["url"] for hook in others] == [url] * hooks
    assert path.stat().st_mode & 0o777 == 0o600
