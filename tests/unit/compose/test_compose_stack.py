"""The stack of containers: what it tells its engine, and what it tells its operator when that fails."""

import json
import stat
from pathlib import Path

import pytest

from infra.compose import containers, engine
from infra.compose.engine import Engine
from infra.compose.stack import ComposeStack
from infra.local.errors import StackError
from infra.local.harness import settings_for
from tests.unit.compose.engines import FakeDocker


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin")


@pytest.fixture
def found(docker: FakeDocker) -> Engine:
    docker.with_compose(images_here=False)
    engine_found, why_not = engine.find(docker.environ)
    assert engine_found is not None, why_not
    return engine_found


def inspected(name: str, *, status: str = "running", health: str = "healthy", code: int = 0) -> dict[str, object]:
    return {
        "Id": name,
        "Name": f"/holdfast_{name}_1",
        "RestartCount": 0,
        "State": {"Status": status, "ExitCode": code, "Health": {"Status": health}},
        "Config": {"Labels": {"com.docker.compose.service": name}},
        "NetworkSettings": {"Ports": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}], "9902/tcp": None}},
    }


def test_an_image_that_cannot_be_fetched_is_named_with_the_way_out(
    docker: FakeDocker, found: Engine, tmp_path: Path
) -> None:
    docker.refuses("pull", "manifest for nats:2.15.0-alpine not found")
    with pytest.raises(StackError) as refused:
        ComposeStack(settings_for(tmp_path / "state"), found).up()
    assert refused.value.problem.startswith("The image nats:2.15.0-alpine cannot be had: manifest")
    assert refused.value.mend == "Without containers: make up STACK=local"
    assert not [words for words in docker.asked() if " up " in words]


def test_a_container_that_does_not_come_up_is_shown_with_its_reason(
    docker: FakeDocker, found: Engine, tmp_path: Path
) -> None:
    docker.answers("ps", "nats order")
    docker.answers("inspect", json.dumps([inspected("nats"), inspected("order", status="exited", code=78)]))
    docker.refuses("compose", "dependency failed to start")
    with pytest.raises(StackError, match=r"dependency failed to start\norder is not healthy: exited, exit code 78"):
        ComposeStack(settings_for(tmp_path / "state"), found).up(build=False)


def test_replicas_of_the_settings_are_asked_for(docker: FakeDocker, found: Engine, tmp_path: Path) -> None:
    docker.answers("ps", "")
    ComposeStack(settings_for(tmp_path / "state", replicas_order=2, replicas_payment=0), found).up(build=False)
    (words,) = [words for words in docker.asked() if " up " in words]
    assert words.endswith("up --detach --no-build --scale order=2 --scale payment-v1=0")


def test_two_state_directories_are_two_projects(found: Engine, tmp_path: Path) -> None:
    one, two = (ComposeStack(settings_for(tmp_path / name), found).project for name in ("one", "two"))
    assert one != two
    assert one.startswith("holdfast-")


def test_what_is_prepared_is_for_its_owner_alone_and_stays_as_it_was(found: Engine, tmp_path: Path) -> None:
    stack = ComposeStack(settings_for(tmp_path / "state"), found)
    stack.prepare()
    secrets = {path: path.read_text() for path in stack.state.secrets.rglob("*") if path.is_file()}
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    for holder in (stack.state.secrets, *stack.state.secrets.iterdir()):
        assert stat.S_IMODE(holder.stat().st_mode) == 0o700
    assert stack.state.secrets.joinpath("order", "database_url").read_text().endswith("@postgres:5432/order")
    generated = [path for path in stack.state.run.rglob("*/*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in generated} == {0o600}
    stack.prepare()
    assert {path: path.read_text() for path in secrets} == secrets
    assert stack.state.path.joinpath("project").read_text() == stack.project


def test_health_that_cannot_be_asked_for_is_no_trouble_and_published_ports_are_listed(
    docker: FakeDocker, found: Engine
) -> None:
    docker.answers("ps", "otel-collector envoy")
    docker.answers("inspect", json.dumps([inspected("otel-collector", health="none"), inspected("envoy")]))
    envoy, collector = containers.listed(found, "holdfast-0")
    assert envoy.published == ("127.0.0.1:8080",)
    assert collector.well
    assert containers.wait_until_well(found, "holdfast-0", seconds=0) == {}


def test_a_container_that_is_missing_or_unhealthy_is_told_by_name(docker: FakeDocker, found: Engine) -> None:
    docker.answers("ps", "envoy")
    docker.answers("inspect", json.dumps([inspected("envoy", health="starting")]))
    troubles = containers.wait_until_well(found, "holdfast-0", ["envoy", "order"], seconds=0)
    assert troubles == {"envoy": "runs, but is starting", "order": "not there"}
