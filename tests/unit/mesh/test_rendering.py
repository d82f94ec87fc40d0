"""Envoy's configuration holds what traffic.yaml says, and nothing of its own."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from infra.envoy.render import TEMPLATE, TemplateError, configuration, fill, render
from infra.envoy.topology import CLUSTERS, compose
from infra.mesh.faults import Fault, Route, UnknownRoute, route_for, routes
from infra.mesh.traffic import TRAFFIC, Traffic, load, seconds
from shared.chassis.serve import _KEEP_ALIVE_SECONDS

NUMBERS: dict[str, Any] = yaml.safe_load(TRAFFIC.read_text())


@pytest.fixture(scope="module")
def rendered() -> dict[str, Any]:
    return dict(yaml.safe_load(render(compose())))


def found(part: Any, key: str) -> list[Any]:
    """Every value under that key, however deep."""
    if isinstance(part, dict):
        own = [part[key]] if key in part else []
        return own + [hit for value in part.values() for hit in found(value, key)]
    return [hit for each in part for hit in found(each, key)] if isinstance(part, list) else []


def test_every_number_of_the_traffic_file_reaches_the_configuration() -> None:
    # each number in turn is made one that appears nowhere else; where it does not show, the template has left it out
    plain = json.dumps(configuration(compose(), load()))
    for path, value in _leaves(NUMBERS):
        changed = copy.deepcopy(NUMBERS)
        parent = changed
        for part in path[:-1]:
            parent = parent[part]
        if path[-1] in ("v1", "v2"):
            parent |= {"v1": 77, "v2": 23}
            expected = "77"
        else:
            parent[path[-1]], expected = _other(value)
        word = re.compile(rf"(?<!\w){re.escape(expected)}(?!\w)")
        assert not word.search(plain)
        assert word.search(json.dumps(configuration(compose(), Traffic.model_validate(changed)))), ".".join(path)


def test_durations_and_percentages_stand_in_the_traffic_file_only() -> None:
    template = TEMPLATE.read_text()
    fixed = {"0.025s", "0.1s", "1s"}  # waits between two connects, a bucket's unit, a closed connection's rest
    assert set(re.findall(r"\b\d+(?:\.\d+)?s\b", template)) <= fixed


def test_only_connects_are_retried_whatever_the_route(rendered: dict[str, Any]) -> None:
    routes_of_all = [route for routes in found(rendered, "routes") for route in routes]
    lessons = [route for route in routes_of_all if "runtime_fraction" in route["match"]]
    assert [route["match"]["runtime_fraction"]["default_value"]["numerator"] for route in lessons] == [0]
    ours = [route["route"] for route in routes_of_all if "retry_policy" in route.get("route", {})]
    policies = [route["retry_policy"] for route in ours if route not in [lesson["route"] for lesson in lessons]]
    assert {policy["retry_on"] for policy in policies} == {"connect-failure,refused-stream"}
    assert len(policies) >= 10


def test_a_retry_on_anything_that_reached_a_server_is_refused() -> None:
    changed = copy.deepcopy(NUMBERS)
    changed["retries"]["retry_on"] = ["connect-failure", "5xx"]
    with pytest.raises(ValidationError, match="retry_on"):
        Traffic.model_validate(changed)


def test_envoy_gives_an_idle_connection_up_well_before_the_service_does() -> None:
    assert seconds(load().upstream_idle_timeout) < _KEEP_ALIVE_SECONDS / 2


def test_the_administration_is_a_unix_socket_that_only_its_owner_may_use(rendered: dict[str, Any]) -> None:
    assert rendered["admin"] == {"address": {"pipe": {"path": "/run/envoy/admin.sock", "mode": 0o600}}}


def test_among_containers_every_cluster_is_found_by_its_name(rendered: dict[str, Any]) -> None:
    by_name = {cluster["name"]: cluster for cluster in rendered["static_resources"]["clusters"]}
    assert set(by_name) == {*CLUSTERS, "admin"}
    for name in CLUSTERS:
        assert found(by_name[name], "socket_address") == [{"address": name, "port_value": 8080}]


def test_every_route_of_the_numbers_has_a_fault_of_its_own_that_is_off(rendered: dict[str, Any]) -> None:
    faults = [fault for fault in found(rendered, "fault") if "delay_percent_runtime" in fault]
    assert {fault["delay_percent_runtime"] for fault in faults} == {route.key("delay_percent") for route in routes()}
    assert {fault[kind]["percentage"]["numerator"] for fault in faults for kind in ("delay", "abort")} == {0}


def test_a_placeholder_that_means_nothing_is_named() -> None:
    with pytest.raises(TemplateError, match=r"edge\.no_such_number"):
        fill({"timeout": "${edge.no_such_number}"}, {"edge": {}})


@pytest.mark.parametrize(
    "numbers", [{"delay_percent": 101}, {"delay_percent": 10}, {"abort_percent": 5, "abort_status": 200}]
)
def test_a_fault_out_of_range_is_refused(numbers: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"delay_percent|delay_ms|abort_status"):
        Fault(Route("payment", "/process"), **numbers)


def test_a_fault_on_a_route_that_does_not_exist_names_those_that_do() -> None:
    with pytest.raises(UnknownRoute, match="payment /process"):
        route_for("payment", "/nowhere")


def test_the_edge_serves_every_path_of_the_order_service_but_those_of_one_replica(rendered: dict[str, Any]) -> None:
    paths = re.findall(r'@router\.\w+\(\s*"(/[^"{]*)', (_ROOT / "services/order/api.py").read_text())
    edge = rendered["static_resources"]["listeners"][0]
    matches = [route["match"] for route in found(edge, "routes")[0] if "route" in route]
    assert len(paths) >= 5
    assert [path for path in paths if not any(_matches(match, path.rstrip("/")) for match in matches)] == []
    assert not any(_matches(match, path) for match in matches for path in ("/admin/resilience", "/metrics", "/ordersx"))


_ROOT = Path(__file__).parents[3]


def _matches(match: dict[str, Any], path: str) -> bool:
    if "path_separated_prefix" in match:
        return path == match["path_separated_prefix"] or path.startswith(match["path_separated_prefix"] + "/")
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"], path) is not None
    return path == match.get("path")


def _leaves(part: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    if isinstance(part, dict):
        return [leaf for key, value in part.items() for leaf in _leaves(value, (*path, key))]
    return [] if isinstance(part, list) else [(path, part)]


def _other(value: Any) -> tuple[Any, str]:
    if isinstance(value, int):
        return (83, "83") if value <= 100 else (918_273, "918273")
    return ("987.5s", "987.5s") if re.fullmatch(r"[\d.]+s", value) else (f"{value}-other", f"{value}-other")
