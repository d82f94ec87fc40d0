"""Rules, scrapes and dashboards in a cluster say the same as on one machine."""

import base64
import re
from typing import Any

import yaml

from infra.kubernetes import rules
from infra.local.prometheus import render_alertmanager
from infra.local.settings import LocalSettings
from tests.unit.manifests.building import INFRA, ROOT, container, named, of_kind, overlay, pod_labels, services

BUILT = "production"


def test_the_committed_rule_object_is_what_the_generator_writes() -> None:
    assert rules.WRITTEN.read_text(encoding="utf-8") == rules.rendered(), "run: make rules"


def test_every_alert_and_every_recorded_series_of_the_local_stack_is_in_the_cluster() -> None:
    def names(groups: list[dict[str, Any]]) -> set[str]:
        return {rule.get("alert") or rule["record"] for group in groups for rule in group["rules"]}

    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in rules.RULES.glob("*.yaml")]
    local = [group for file in files for group in file["groups"]]
    there = named(overlay(BUILT), "PrometheusRule", "holdfast")["spec"]["groups"]
    left_out = names([group for group in local if group["name"] in rules.LEFT_OUT])
    assert names(there) == names(local) - left_out
    assert all(name.startswith("container_") for name in left_out), "only what cAdvisor has"


def test_services_are_scraped_under_the_labels_that_the_rules_ask_for() -> None:
    built = overlay(BUILT)
    (endpoint,) = named(built, "PodMonitor", "services")["spec"]["podMetricsEndpoints"]
    labels = {each["targetLabel"] for each in endpoint["relabelings"]}
    assert {"job", "service", "instance", "api_version"} <= labels
    (job,) = (each["replacement"] for each in endpoint["relabelings"] if each["targetLabel"] == "job")
    asked = re.findall(r'job="([^"]+)"', "".join(path.read_text() for path in rules.RULES.glob("*.yaml")))
    assert set(asked) == {job}
    selector = named(built, "PodMonitor", "services")["spec"]["selector"]["matchLabels"]
    for workload in services(built):
        assert selector.items() <= pod_labels(workload).items()
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        # what the proxy's agent asks, and hands on
        assert annotations["prometheus.io/port"] == str(container(workload)["ports"][0]["containerPort"])
        assert annotations["prometheus.io/path"] == "/metrics"


def test_the_autoscalers_metric_is_one_that_the_adapter_serves_and_the_services_have() -> None:
    (held,) = (each for each in of_kind(overlay(BUILT), "ConfigMap") if each["metadata"]["name"] == "holdfast-metrics")
    served = {rule["name"]["as"]: rule for rule in yaml.safe_load(held["data"]["config.yaml"])["rules"]}
    asked = {
        metric["pods"]["metric"]["name"]
        for scaler in of_kind(overlay(BUILT), "HorizontalPodAutoscaler")
        for metric in scaler["spec"]["metrics"]
        if metric["type"] == "Pods"
    }
    assert asked == {*served}
    admission = (ROOT / "shared" / "chassis" / "admission.py").read_text(encoding="utf-8")
    for name, rule in served.items():
        assert f'Gauge("{name}"' in admission
        assert re.fullmatch(rule["name"]["matches"], name)
        assert rule["seriesQuery"].startswith(name + "{")


def test_alerts_are_grouped_and_silenced_as_on_one_machine() -> None:
    (held,) = (
        each for each in of_kind(overlay(BUILT), "Secret") if each["metadata"]["name"] == "alertmanager-holdfast"
    )
    there = yaml.safe_load(base64.b64decode(held["data"]["alertmanager.yaml"]))
    local = yaml.safe_load(render_alertmanager(LocalSettings(alert_webhook_url="http://127.0.0.1/hook")))
    assert there["route"] == local["route"]
    assert there["inhibit_rules"] == local["inhibit_rules"]
    (receiver,) = there["receivers"]
    (hook,) = receiver["webhook_configs"]
    assert "url" not in hook, "an address may hold a token: it is read from a mounted secret"


def test_each_dashboard_is_a_config_map() -> None:
    held = {key for each in of_kind(overlay(BUILT), "ConfigMap") for key in each["data"] if key.endswith(".json")}
    assert held == {path.name for path in (INFRA / "grafana" / "dashboards").glob("*.json")}
