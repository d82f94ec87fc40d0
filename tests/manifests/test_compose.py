"""docker-compose.yml: valid where a compose command is at hand, and our own rules in any case."""

import ipaddress
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from infra.compose import preparation
from infra.local.settings import ROOT
from infra.local.sources import load
from ml.remediation import command, policy
from services.control_room.page.settings import PageSettings
from tests.fixtures.models import write_constant_model

FILE = ROOT / "docker-compose.yml"
LIMIT_MB = 3 * 1000 * 1000 * 1000 / (1024 * 1024)
# Nothing in the image could ask: it holds one program and no shell.
UNASKABLE = {"otel-collector"}
# Run when called, by an operator who waits for the end.
TOOLS = {"tools"}
EXCHANGED = ("./.local/compose/run/admin", "./.local/compose/run/audit")
SETTLED_BY_DEFAULT = re.compile(r"\$\{([A-Z0-9_]+)(:?-)([^}]*)\}")


def settled(value: Any) -> Any:
    """A part of the file with every variable at its default."""
    if isinstance(value, dict):
        return {key: settled(each) for key, each in value.items()}
    if isinstance(value, list):
        return [settled(each) for each in value]
    return SETTLED_BY_DEFAULT.sub(lambda found: found[3], value) if isinstance(value, str) else value


WHOLE = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = settled(WHOLE["services"])
each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_file_is_valid_for_the_compose_command_of_this_machine() -> None:
    # `config` reads files only: it needs no engine, and is given none.
    words = ["docker-compose"]
    if not shutil.which("docker-compose"):
        words = ["docker", "compose"]
        known = shutil.which("docker") and subprocess.run([*words, "version"], capture_output=True, check=False)
        if not known or known.returncode:
            pytest.skip("neither docker-compose nor docker compose is installed")
    environ = {"PATH": "/usr/local/bin:/usr/bin:/bin", "DOCKER_HOST": "unix:///nonexistent", "HOME": "/nonexistent"}
    done = subprocess.run(
        [*words, "--file", str(FILE), "config", "--quiet"], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_everything_that_the_platform_consists_of_is_there() -> None:
    stores, services = {"postgres", "nats"}, {"order", "payment-v1", "payment-v2", "inventory"}
    watching = {"otel-collector", "jaeger", "prometheus", "alertmanager", "grafana", "page", "predictor", "remediation"}
    assert set(SERVICES) >= stores | services | watching | {"envoy"}


@each_service
def test_a_container_has_nothing_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "network_mode" not in service
    assert service["user"].split(":") == [str(preparation.IMAGES_USER)] * 2
    assert 0 < service["pids_limit"] <= 256
    assert service["logging"]["options"]["max-size"]
    assert not [mount for mount in service.get("volumes", []) if "docker.sock" in str(mount)]


@each_service
def test_a_container_is_asked_for_its_health_and_started_again(name: str) -> None:
    service = SERVICES[name]
    if name in TOOLS:
        assert service["profiles"] == ["tools"]
        assert service["restart"] == "no"
        return
    assert service["restart"] == "unless-stopped"
    if name in UNASKABLE:
        assert service["healthcheck"] == {"disable": True}
        return
    check = service["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)


@each_service
def test_what_is_needed_is_waited_for_until_it_is_healthy(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        assert how == {"condition": "service_healthy"}
        assert needed not in UNASKABLE


def test_the_platform_waits_for_nothing_that_only_watches() -> None:
    watching = {"otel-collector", "jaeger", "prometheus", "alertmanager", "grafana"}
    for name in set(SERVICES) - watching:
        assert not watching & set(SERVICES[name].get("depends_on", {}))


def test_services_start_after_their_stores_and_the_edge_after_the_services() -> None:
    for name in ("order", "payment-v1", "payment-v2", "inventory"):
        assert set(SERVICES[name]["depends_on"]) == {"postgres", "nats"}
    assert set(SERVICES["envoy"]["depends_on"]) == {"order", "payment-v1", "payment-v2", "inventory"}


def test_memory_limits_of_what_goes_on_running_add_up_to_three_gigabytes_at_most() -> None:
    lasting = {name: service for name, service in SERVICES.items() if name not in TOOLS}
    limits = {name: int(service["mem_limit"].removesuffix("m")) for name, service in lasting.items()}
    assert sum(limits.values()) <= LIMIT_MB, limits
    assert all(0 < float(service["cpus"]) <= 2 for service in SERVICES.values())


@each_service
def test_an_image_is_pinned_and_can_be_exchanged(name: str) -> None:
    raw = WHOLE["services"][name]["image"]
    assert SETTLED_BY_DEFAULT.fullmatch(raw), raw
    tag = SERVICES[name]["image"].rpartition(":")[2]
    # A whole version; `latest` moves every day, `17` every month.
    assert re.match(r"v?\d+\.\d+(\.\d+)?(-|$)", tag), tag


def test_only_the_edge_and_the_pages_for_people_are_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"envoy", "grafana", "prometheus", "alertmanager", "jaeger", "page"}
    for ports in published.values():
        for port in ports:
            host = port.rsplit(":", 2)[0]
            assert ipaddress.ip_address(host).is_loopback


def test_only_what_is_published_is_on_the_network_that_leads_outside() -> None:
    assert settled(WHOLE["networks"])["platform"] == {"internal": True}
    for name, service in SERVICES.items():
        wanted = ["platform", "front"] if "ports" in service else ["platform"]
        assert service["networks"] == wanted, name


@each_service
def test_no_secret_stands_in_the_file(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|TOKEN|SECRET|KEY|DATABASE_URL", key):
            assert key.endswith("_FILE"), key
            assert str(value).startswith("/run/secrets/")
        assert "@" not in str(value), f"{key} looks like an address with a password"


@each_service
def test_what_is_mounted_is_of_this_tree_or_of_the_state_directory_and_read_only_unless_it_is_data(name: str) -> None:
    for mount in SERVICES[name].get("volumes", []):
        assert mount["type"] == "bind"
        # Beside data only Envoy's administration, and what the auditor reads and says, pass through a directory.
        kept = mount["source"].startswith(("./.local/compose/data/", *EXCHANGED))
        assert mount.get("read_only", False) is not kept, mount
        if not mount["source"].startswith("./.local/compose/"):
            assert Path(mount["source"]).parts[0] in ("infra", "ml")


def test_what_is_mounted_is_prepared(tmp_path: Path) -> None:
    settings = load(Path("/nonexistent"), state_dir=tmp_path)
    preparation.prepare(settings, "the mesh")
    state = preparation.state_of(settings).path
    for service in SERVICES.values():
        for mount in service.get("volumes", []):
            inside = mount["source"].removeprefix("./.local/compose/")
            assert inside == mount["source"] or (state / inside).is_dir(), mount["source"]


def test_every_variable_of_the_settings_is_one_that_the_file_asks_for(tmp_path: Path) -> None:
    asked = {found[0] for found in SETTLED_BY_DEFAULT.findall(FILE.read_text(encoding="utf-8"))}
    assert set(preparation.variables(load(Path("/nonexistent"), state_dir=tmp_path))) <= asked


def test_the_predictor_is_part_of_the_stack_where_there_is_a_model_and_a_key(tmp_path: Path) -> None:
    assert SERVICES["predictor"]["profiles"] == [preparation.PREDICTION]
    write_constant_model(tmp_path / "model")
    given = {"model_dir": str(tmp_path / "model"), "state_dir": tmp_path}
    chosen = load(Path("/nonexistent"), trusted_keys=str(tmp_path / "model"), **given)
    assert preparation.profiles(chosen) == {"COMPOSE_PROFILES": "prediction,remediation"}
    alone = load(Path("/nonexistent"), trusted_keys=str(tmp_path / "model"), remediation="off", **given)
    assert preparation.profiles(alone) == {"COMPOSE_PROFILES": "prediction"}
    assert preparation.variables(chosen)["HOLDFAST_MODEL_DIR"] == str(tmp_path / "model")
    for without in ({"trusted_keys": str(tmp_path / "none")}, {"prediction": "off"}):
        assert preparation.profiles(load(Path("/nonexistent"), **given | without)) == {}


def test_the_page_is_told_of_every_part_that_it_shows_under_the_name_and_port_where_it_listens() -> None:
    told = SERVICES["page"]["environment"]
    ports = {"envoy": 8080, "prometheus": 9090, "alertmanager": 9093, "jaeger": 16686, "predictor": 8095,
             "remediation": 8096}  # fmt: skip
    places = {urlsplit(value) for name, value in told.items() if name.endswith("_URL") and "localhost" not in value}
    assert {(each.hostname, each.port) for each in places} == {*ports.items()}
    assert f"--port={ports['remediation']}" in SERVICES["remediation"]["command"]
    named = {word.partition("=")[2] for word in told["REPLICA_NAMES"].split()}
    assert named == {f"{name}:8080" for name in ("order", "payment-v1", "payment-v2", "inventory")}
    for name in ("PROMETHEUS", "ALERTMANAGER", "TRACES"):
        assert told[f"{name}_LINK"].startswith("http://localhost:"), "what a browser can open"
    assert {name.lower() for name in told} <= {*PageSettings.model_fields}


def test_what_acts_on_predictions_is_started_by_words_that_its_command_line_takes() -> None:
    words = [word.removeprefix("--") for word in SERVICES["remediation"]["command"]]
    chosen = command._parse([f"--{word}" for word in words])
    assert (chosen.actuator, chosen.mode, chosen.host) == ("advice", "shadow", "0.0.0.0")
    assert {word.partition("=")[2] for word in chosen.names.split()} <= {*SERVICES}
    assert policy.load(ROOT / SERVICES["remediation"]["volumes"][0]["source"])


def test_compose_and_kubernetes_run_the_same_versions() -> None:
    here = dict(service["image"].rsplit(":", 1) for service in SERVICES.values())
    there: dict[str, str] = {}
    for file in (ROOT / "infra" / "kubernetes").rglob("*.yaml"):
        there |= dict(re.findall(r"^\s*(?:- )?image: ([^\s:]+):(\S+)$", file.read_text(encoding="utf-8"), re.MULTILINE))
    both = set(here) & set(there)
    assert {"postgres", "nats", "jaegertracing/jaeger"} <= both
    # The part behind the hyphen is the distribution that an image is built upon.
    assert {name: here[name].partition("-")[0] for name in both} == {
        name: there[name].partition("-")[0] for name in both
    }
