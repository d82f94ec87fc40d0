"""Which stack `make up` starts, and why."""

from collections.abc import Callable
from pathlib import Path

import pytest

from infra.compose import engine
from infra.compose.engine import Engine
from infra.local.errors import StackError
from infra.local.harness import settings_for
from infra.local.settings import LocalSettings
from infra.stack.choice import Remembered, to_start
from tests.unit.compose.engines import FakeDocker

Find = Callable[[], tuple[Engine | None, str]]


@pytest.fixture
def docker(tmp_path: Path) -> FakeDocker:
    return FakeDocker(tmp_path / "bin")


@pytest.fixture
def find(docker: FakeDocker) -> Find:
    return lambda: engine.find(docker.environ)


@pytest.fixture
def settings(tmp_path: Path) -> LocalSettings:
    return settings_for(tmp_path / "state")


def must_not_be_asked() -> tuple[Engine | None, str]:
    raise AssertionError("an engine was looked for")


def test_without_docker_on_path_it_is_processes(settings: LocalSettings, tmp_path: Path) -> None:
    choice = to_start("auto", settings, lambda: engine.find({"PATH": str(tmp_path)}))
    assert (choice.stack, choice.why) == ("local", "no container engine is installed")


def test_an_engine_that_refuses_leaves_it_at_processes_and_is_quoted(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.refuses("info", "Cannot connect to the Docker daemon")
    choice = to_start("auto", settings, find)
    assert choice.stack == "local"
    assert "Cannot connect to the Docker daemon" in choice.why


def test_an_engine_that_hangs_is_given_up_after_three_seconds(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.hangs("info")
    choice = to_start("auto", settings, find)
    assert choice.stack == "local"
    assert "no answer within 3 s" in choice.why


def test_an_engine_without_a_compose_command_leaves_it_at_processes(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.answers("info", "28.0.0\n")
    docker.refuses("compose", "unknown command")
    choice = to_start("auto", settings, find)
    assert choice.stack == "local"
    assert "no compose command" in choice.why


def test_with_an_engine_and_the_images_it_is_containers_and_no_registry_is_asked(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.with_compose(images_here=True)
    choice = to_start("auto", settings, find)
    assert (choice.stack, choice.why) == ("compose", "a container engine answers, with docker compose")
    assert not [words for words in docker.asked() if words.startswith("manifest")]


def test_images_that_a_registry_has_are_as_good_as_here(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.with_compose(images_here=False)
    docker.answers("manifest", "{}")
    assert to_start("auto", settings, find).stack == "compose"
    # Our own images are built here: no registry is asked for them.
    assert [words for words in docker.asked() if words.startswith("manifest")] == [
        "manifest inspect nats:2.15.0-alpine"
    ]


def test_a_registry_out_of_reach_leaves_it_at_processes_and_names_the_image(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.with_compose(images_here=False)
    docker.refuses("manifest", "dial tcp: no route to host")
    choice = to_start("auto", settings, find)
    assert choice.stack == "local"
    assert "nats:2.15.0-alpine" in choice.why
    assert "no route to host" in choice.why


def test_processes_are_chosen_without_a_look_at_any_engine(settings: LocalSettings) -> None:
    assert to_start("local", settings, must_not_be_asked).stack == "local"


def test_containers_that_cannot_be_had_are_refused_with_the_way_out(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.refuses("info", "Cannot connect to the Docker daemon")
    with pytest.raises(StackError, match="make up STACK=local"):
        to_start("compose", settings, find)


def test_an_unknown_stack_is_refused(settings: LocalSettings) -> None:
    with pytest.raises(StackError, match="there are auto, local and compose"):
        to_start("swarm", settings, must_not_be_asked)


def test_containers_that_run_are_kept_and_processes_refused_beside_them(
    settings: LocalSettings, docker: FakeDocker, find: Find
) -> None:
    docker.with_compose(images_here=True)
    docker.answers("ps", "abc\n")
    docker.answers(
        "inspect",
        '[{"Id": "abc", "Name": "/order-1", "RestartCount": 0, "State": {"Status": "running", "ExitCode": 0},'
        ' "Config": {"Labels": {"com.docker.compose.service": "order"}}, "NetworkSettings": {"Ports": {}}}]',
    )
    Remembered(settings).write("compose")
    assert to_start("auto", settings, find).why == "it runs already"
    with pytest.raises(StackError, match="make down"):
        to_start("local", settings, find)


def test_what_was_started_is_remembered_until_it_is_stopped(settings: LocalSettings) -> None:
    remembered = Remembered(settings)
    assert remembered.read() is None
    remembered.write("compose")
    assert Remembered(settings).read() == "compose"
    remembered.forget()
    assert remembered.read() is None
