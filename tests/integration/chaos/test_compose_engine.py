"""The containers' target with a real engine: what is paused, stopped and killed is that, and comes back by itself."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.targets.compose import Compose
from chaos.targets.docker import Docker
from infra.compose.engine import Engine, EngineError
from infra.compose.rehearsal import private_engine
from infra.local.harness import settings_for
from tests.fixtures.waiting import until

pytestmark = pytest.mark.slow

PROJECT = IMAGE = "holdfast-chaos-test"
# The first process has a child whose end is its own, as the init of our images has; SIGTERM ends it at once.
COMMAND = ("/bin/sh", "-c", "trap 'exit 143' TERM; /bin/sleep 600 & wait $!; exit 1")


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    try:
        with private_engine.engine() as engine:
            yield engine
    except EngineError as error:
        pytest.skip(str(error))


@pytest.fixture
def target(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Compose]:
    """A project of one container, `nats`."""
    archive = tmp_path / "root.tar"
    with tarfile.open(archive, "w") as tar:
        for name in ("sh", "sleep"):
            add(tar, shutil.which(name) or "", f"bin/{name}")
        for library in libraries("/bin/sh") | libraries("/bin/sleep"):
            add(tar, library, library.lstrip("/"))
    engine.run("import", str(archive), IMAGE)
    labels = {"project": PROJECT, "service": "nats", "container-number": "1", "oneoff": "False"}
    words = [word for name, value in labels.items() for word in ("--label", f"com.docker.compose.{name}={value}")]
    started = engine.run("run", "--detach", "--network=none", "--restart=unless-stopped", *words, IMAGE, *COMMAND)
    for module in ("compose", "ends"):
        monkeypatch.setattr(f"chaos.targets.{module}.STOP_SECONDS", 1)
    if "DOCKER_HOST" in engine.environ:
        monkeypatch.setenv("DOCKER_HOST", engine.environ["DOCKER_HOST"])
    try:
        yield Compose(Docker(), settings_for(tmp_path / "state"), PROJECT)
    finally:
        engine.run("rm", "--force", started.strip())
        engine.run("rmi", "--force", IMAGE)


def add(tar: tarfile.TarFile, path: str, name: str) -> None:
    content = Path(path).read_bytes()
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o755, len(content)
    tar.addfile(entry, io.BytesIO(content))


def libraries(program: str) -> set[str]:
    said = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {word for word in said.split() if word.startswith("/")}


def states(target: Compose) -> list[str]:
    return [program.state for program in target.programs()]


def test_each_fault_of_a_container_is_felt_and_ends_without_who_began_it(target: Compose) -> None:
    assert (states(target), target.unwell(), target.size("nats")) == (["running"], [], 1)

    target.pause("nats", 3.0)
    assert (states(target), [fault.partition(",")[0] for fault in target.faults()]) == (["paused"], ["pause nats"])
    until(lambda: states(target) == ["running"])

    target.stop("nats", 2.0)
    assert states(target) == ["down"]
    assert target.unwell()
    until(lambda: states(target) == ["running"])
    target.clear()
    assert target.faults() == []

    [before] = [program.pid for program in target.programs()]
    target.kill("nats")
    until(lambda: [each.pid for each in target.programs() if each.state == "running"] not in ([], [before]))

    target.pause("nats", 60.0)
    target.clear()
    assert states(target) == ["running"]
