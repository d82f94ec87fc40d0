"""How pods run: unprivileged, probed, bounded, spread out, and stopped gracefully."""

import re
import tomllib
from typing import Any

import pytest
import yaml

from services.inventory.settings import InventorySettings
from services.order.settings import OrderSettings
from services.payment.settings import PaymentSettings
from shared.chassis import serve
from tests.unit.manifests.building import (
    OVERLAYS,
    ROOT,
    Document,
    container,
    named,
    of_kind,
    overlay,
    pod,
    pod_labels,
    services,
    workloads,
)

MEBI = {"Mi": 1, "Gi": 1024}

IN_EACH_OVERLAY = pytest.mark.parametrize("name", OVERLAYS)


@IN_EACH_OVERLAY
def test_a_pod_meets_the_restricted_profile(name: str) -> None:
    for workload in workloads(overlay(name)):
        spec, only = pod(workload), container(workload)
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        security: dict[str, Any] = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security.get("runAsUser", 1) != 0
        own: dict[str, Any] = only["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert not own.get("privileged")
        assert not any("hostPort" in port for port in only.get("ports", []))
        kinds = {kind for volume in spec.get("volumes", []) for kind in volume if kind != "name"}
        assert kinds <= {"configMap", "emptyDir", "projected", "secret", "persistentVolumeClaim"}


@IN_EACH_OVERLAY
def test_a_pod_has_an_account_of_its_own_without_a_token_and_no_foreign_variables(name: str) -> None:
    for workload in workloads(overlay(name)):
        spec = pod(workload)
        assert spec["serviceAccountName"] != "default"
        assert spec["enableServiceLinks"] is False
        if workload["metadata"]["name"] == "remediation":  # what it may with it: the test of the actuator
            assert spec["automountServiceAccountToken"] is True
        elif workload["metadata"]["name"] != "edge":  # the proxy asks the control plane for its certificate with it
            assert spec["automountServiceAccountToken"] is False


@IN_EACH_OVERLAY
def test_a_container_is_bounded_in_memory_and_processor_and_its_scratch_space_in_size(name: str) -> None:
    for workload in workloads(overlay(name)):
        resources = container(workload)["resources"]
        assert {*resources["requests"]} == {*resources["limits"]} == {"cpu", "memory"}
        for volume in pod(workload).get("volumes", []):
            if "emptyDir" in volume:
                size = volume["emptyDir"]["sizeLimit"]
                assert _mebi(size) < _mebi(resources["limits"]["memory"])


@IN_EACH_OVERLAY
def test_an_image_is_named_by_version(name: str) -> None:
    for workload in workloads(overlay(name)):
        image = container(workload)["image"]
        if workload["metadata"]["name"] == "edge":
            assert image == "auto"  # filled in by the mesh's injector
            continue
        repository, _, tag = image.rpartition(":")
        assert repository
        assert tag[0].isdigit()
        if repository.startswith("holdfast/"):
            version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
            assert tag == version
            assert pod_labels(workload)["app.kubernetes.io/version"] == version
            if workload["kind"] == "Job":  # what has run cannot be changed: each version is a job of its own
                assert workload["metadata"]["name"].endswith("-" + version.replace(".", "-"))


@IN_EACH_OVERLAY
def test_whatever_serves_has_three_probes_and_is_spread_over_nodes_and_zones(name: str) -> None:
    serving = [each for each in workloads(overlay(name)) if each["kind"] != "Job"]
    assert len(serving) >= 6
    for workload in serving:
        only, spec = container(workload), pod(workload)
        ports = {port["name"] for port in only["ports"]}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            asked = only[probe]
            how = asked.get("httpGet") or asked.get("tcpSocket") or {}
            assert how.get("port", 15021) in ports | {15021}
            assert asked["timeoutSeconds"] <= asked["periodSeconds"]
        assert only["startupProbe"]["failureThreshold"] * only["startupProbe"]["periodSeconds"] >= 60
        assert spec["affinity"]["podAntiAffinity"]
        assert {each["topologyKey"] for each in spec["topologySpreadConstraints"]} == {"topology.kubernetes.io/zone"}
        # what is spread is the workload's own pods
        for selector in _selectors(spec):
            assert selector.items() <= pod_labels(workload).items()


@IN_EACH_OVERLAY
def test_what_has_replicas_keeps_all_but_one_through_a_disruption(name: str) -> None:
    built = overlay(name)
    budgets = {
        tuple(sorted(each["spec"]["selector"]["matchLabels"].items())): each["spec"]
        for each in of_kind(built, "PodDisruptionBudget")
    }
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in of_kind(built, "HorizontalPodAutoscaler")}
    for workload in of_kind(built, "Deployment", "StatefulSet"):
        if workload["spec"].get("replicas", 3) == 1 and workload["metadata"]["name"] not in scaled:
            continue  # a budget for a single pod would only hold up the drain of its node
        budget = budgets[tuple(sorted(workload["spec"]["selector"]["matchLabels"].items()))]
        assert budget["maxUnavailable"] == 1


def test_production_scales_every_service_by_processor_and_by_requests_in_flight() -> None:
    built = overlay("production")
    scalers = {
        each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in of_kind(built, "HorizontalPodAutoscaler")
    }
    assert {*scalers} == {each["metadata"]["name"] for each in services(built)}
    for workload in services(built):
        spec = scalers[workload["metadata"]["name"]]
        resource, pods = spec["metrics"]
        assert resource["containerResource"]["container"] == container(workload)["name"]
        assert pods["pods"]["metric"]["name"] == "requests_in_flight"
        assert "replicas" not in workload["spec"], "an apply would undo what the autoscaler has set"
        assert 2 <= spec["minReplicas"] < spec["maxReplicas"]
        # shed load begins well after more replicas are asked for
        assert float(pods["pods"]["target"]["averageValue"]) < 0.2 * OrderSettings.model_fields["max_requests"].default


@IN_EACH_OVERLAY
def test_a_service_has_time_to_drain_before_it_is_killed(name: str) -> None:
    for workload, settings in zip(
        services(overlay(name)),
        (InventorySettings, OrderSettings, PaymentSettings, PaymentSettings),
        strict=True,
    ):
        before = container(workload)["lifecycle"]["preStop"]["sleep"]["seconds"]
        drain = settings.model_fields["drain_seconds"].default
        grace = pod(workload)["terminationGracePeriodSeconds"]
        assert grace > before + drain + serve._AFTER_DRAIN_SECONDS
        annotations = workload["spec"]["template"]["metadata"]["annotations"]
        if "proxy.istio.io/config" in annotations:
            proxy = int(yaml.safe_load(annotations["proxy.istio.io/config"])["terminationDrainDuration"].rstrip("s"))
            assert before + drain + serve._AFTER_DRAIN_SECONDS < proxy < grace, "the proxy outlives the service's drain"


@IN_EACH_OVERLAY
def test_the_namespace_refuses_pods_that_ask_for_more(name: str) -> None:
    labels = named(overlay(name), "Namespace", "holdfast")["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_the_actuator_can_set_numbers_of_replicas_evict_pods_and_change_nothing_else() -> None:
    role = named(overlay("production"), "Role", "actuator")
    changes = [rule for rule in role["rules"] if not {*rule["verbs"]} <= {"get", "list", "watch"}]
    scale, evict = sorted(changes, key=lambda rule: rule["resources"])
    assert (scale["resources"], scale["verbs"]) == (["deployments/scale"], ["get", "patch"])
    assert {*scale["resourceNames"]} == {each["metadata"]["name"] for each in services(overlay("production"))}
    # not `delete` of pods: an eviction respects disruption budgets
    assert (evict["resources"], evict["verbs"]) == (["pods/eviction"], ["create"])


@IN_EACH_OVERLAY
def test_nobody_may_read_secrets_open_shells_or_do_just_anything(name: str) -> None:
    built = overlay(name)
    assert of_kind(built, "ClusterRole", "ClusterRoleBinding") == []
    bound = {each["roleRef"]["name"] for each in of_kind(built, "RoleBinding")}
    # who runs drills is given its rights by a person, for the time of the drill
    assert "chaos-drills" not in bound
    for role in of_kind(built, "Role"):
        if role["metadata"]["name"] == "chaos-drills":
            continue
        assert role["metadata"]["name"] in bound
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert not {*rule["resources"]} & {"secrets", "pods/exec", "pods/attach", "pods/ephemeralcontainers"}


def test_the_chaos_runner_may_make_each_kind_of_experiment_that_is_written_here() -> None:
    rules = named(overlay("production"), "Role", "chaos-runner")["rules"]
    (chaos,) = (rule for rule in rules if rule["apiGroups"] == ["chaos-mesh.org"])
    assert {"create", "delete"} <= {*chaos["verbs"]}
    written = {
        document["kind"].lower()
        for path in (ROOT / "chaos" / "mesh").rglob("*.yaml")
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8"))
        if isinstance(document, dict) and str(document.get("apiVersion", "")).startswith("chaos-mesh.org/")
    }
    assert len(written) == 9
    resources = {"schedule": "schedules", "workflow": "workflows"}
    assert {resources.get(kind, kind) for kind in written} == {*chaos["resources"]}


def _selectors(spec: Document) -> list[dict[str, str]]:
    affinity = spec["affinity"]["podAntiAffinity"]
    terms = [
        *affinity.get("requiredDuringSchedulingIgnoredDuringExecution", []),
        *(each["podAffinityTerm"] for each in affinity.get("preferredDuringSchedulingIgnoredDuringExecution", [])),
        *spec["topologySpreadConstraints"],
    ]
    return [term["labelSelector"]["matchLabels"] for term in terms]


def _mebi(quantity: str) -> float:
    return float(quantity[:-2]) * MEBI[quantity[-2:]]


def test_images_are_those_that_compose_runs() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    composed = dict(re.findall(r'image: "\$\{\w+:-([^:"]+):([^"}]+)\}"', text))
    for name in OVERLAYS:
        for workload in workloads(overlay(name)):
            repository, _, tag = container(workload)["image"].rpartition(":")
            if repository and repository != "holdfast/slo-gate":  # it answers Chaos Mesh, which is in clusters only
                assert composed[repository] == tag, repository
