"""Envoy's numbers and Istio's are the same, one by one; so are the corrections of the tutorial's files."""

from typing import Any

import yaml

from tests.unit.manifests.building import INFRA, of_kind, overlay, pod_labels, services
from tests.unit.manifests.mesh_numbers import (
    ELSEWHERE,
    TRAFFIC,
    Place,
    changed,
    differences,
    files,
    leaves,
    places,
    routes,
)


def virtual_services() -> dict[str, dict[str, Any]]:
    """Every VirtualService below infra/istio, by file."""
    found = {}
    for path in sorted((INFRA / "istio").rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document["kind"] == "VirtualService":
                found[path.name] = document
    return found


def test_every_number_of_the_mesh_is_the_same_for_envoy_and_for_istio() -> None:
    assert differences(files()) == []


def test_each_number_of_traffic_yaml_is_noticed_when_it_changes() -> None:
    held = files()
    keys = [key for key, _ in leaves(held[TRAFFIC])]
    assert len(keys) > 35
    for key in keys:
        found = differences(changed(held, Place(TRAFFIC, key)))
        assert found, key
        assert all(line.startswith(f"{key}: ") for line in found), found


def test_each_number_for_istio_is_noticed_when_it_changes_and_its_file_is_named() -> None:
    held = files()
    where = {place for key, _ in leaves(held[TRAFFIC]) for place in places(key, held)}
    assert len(where) > 80
    for place in where:
        found = differences(changed(held, place))
        assert found, place
        assert all(f"infra/{place.file} " in line for line in found), found


def test_what_is_said_to_be_elsewhere_is_in_the_file_and_nowhere_else() -> None:
    held = files()
    known = dict(leaves(held[TRAFFIC]))
    for key in ELSEWHERE:
        assert key in known
        assert places(key, held) == []


def test_every_route_says_which_retries_it_wants_and_none_repeats_an_answer_of_5xx() -> None:
    for file, document in virtual_services().items():
        for route in document["spec"]["http"]:
            if "fault" in route:  # Istio would not apply them to what is injected
                assert not {"retries", "timeout"} & route.keys(), file
                continue
            # without a word Istio retries by a policy of its own
            assert {*route["retries"]["retryOn"].split(",")} <= {"connect-failure", "refused-stream"}, file
            assert "timeout" in route, file


def test_a_canary_step_is_named_for_its_weights_and_the_steps_differ_in_nothing_else() -> None:
    steps = {}
    for name in ("90-10", "50-50", "0-100"):
        document = virtual_services()[f"{name}.yaml"]
        weights = [int(part) for part in name.split("-")]
        for route in document["spec"]["http"]:
            if len(route["route"]) == 2:
                assert [each.pop("weight") for each in route["route"]] == weights
        steps[name] = document
    assert steps["90-10"] == steps["50-50"] == steps["0-100"]


def test_a_subset_is_one_that_the_destination_rule_defines_and_pods_belong_to() -> None:
    built = overlay("production")
    subsets = {
        (rule["spec"]["host"], subset["name"]): subset["labels"]
        for rule in of_kind(built, "DestinationRule")
        for subset in rule["spec"].get("subsets", [])
    }
    used = {
        (each["destination"]["host"], each["destination"]["subset"])
        for document in virtual_services().values()
        for route in document["spec"]["http"]
        for each in route["route"]
        if "subset" in each["destination"]
    }
    assert used == {*subsets}
    for (host, _), labels in subsets.items():
        assert any(
            labels.items() <= pod_labels(each).items() and pod_labels(each)["app"] == host.partition(".")[0]
            for each in services(built)
        )


def test_every_destination_is_a_service_of_this_namespace_on_its_port() -> None:
    built = overlay("production")
    there = {
        (f"{each['metadata']['name']}.{each['metadata']['namespace']}.svc.cluster.local", port["port"])
        for each in of_kind(built, "Service")
        for port in each["spec"]["ports"]
    }
    for document in virtual_services().values():
        for route in document["spec"]["http"]:
            for each in route["route"]:
                assert (each["destination"]["host"], each["destination"]["port"]["number"]) in there
    assert {rule["spec"]["host"] for rule in of_kind(built, "DestinationRule")} <= {host for host, _ in there}


def test_every_route_has_a_destination_rule_with_ejection_and_failover_by_locality() -> None:
    for rule in of_kind(overlay("production"), "DestinationRule"):
        if rule["metadata"]["name"].endswith("-replicas"):
            continue  # of single pods, for the control room: test_control_room.py
        policy = rule["spec"]["trafficPolicy"]
        assert policy["loadBalancer"]["localityLbSetting"]["enabled"] is True
        assert policy["outlierDetection"], "without it a failover by locality never happens"
    assert len(routes(files())) > 20


def test_mutual_tls_is_strict_everywhere_and_each_request_is_traced() -> None:
    built = overlay("production")
    (peers,) = of_kind(built, "PeerAuthentication")
    assert peers["spec"] == {"mtls": {"mode": "STRICT"}}
    shares = {
        each["spec"].get("selector", {}).get("matchLabels", {}).get("app"): each["spec"]["tracing"][0]
        for each in of_kind(built, "Telemetry")
    }
    # who looks at the platform all the time is no part of what customers do
    assert {app: share["randomSamplingPercentage"] for app, share in shares.items()} == {
        None: 100,
        "control-room": 0,
        "remediation": 0,
    }
