"""The bootstrap: what it takes from pip's configuration, how the locks nest, and that it is idle when all is well."""

import shutil
import subprocess
from pathlib import Path

import pytest

from infra.local import bootstrap
from infra.local.settings import ROOT


@pytest.mark.parametrize(("smaller", "larger"), [("local", "chaos"), ("chaos", "postgres"), ("postgres", "dev")])
def test_a_larger_lock_holds_every_package_of_a_smaller_one(smaller: str, larger: str) -> None:
    assert bootstrap.pins(smaller) < bootstrap.pins(larger)


def test_the_installer_is_pinned_to_one_version_with_hashes() -> None:
    assert len(bootstrap.pins("uv")) == 1
    assert "--hash=sha256:" in (ROOT / "requirements" / "uv.lock").read_text()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with an environment in step with its lock; its Python only leaves a trace of having been run."""
    for name in ("infra/local/bootstrap.sh", "infra/local/bootstrap.py", "requirements/local.lock"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / ".venv/bin/python").write_text("#!/bin/sh\n")
    (tmp_path / ".venv/bin/python").chmod(0o755)
    (tmp_path / ".venv/.holdfast").mkdir()
    shutil.copy(ROOT / "requirements/local.lock", tmp_path / ".venv/.holdfast/local.lock")
    fake = tmp_path / "fake-python"
    fake.write_text(f'#!/bin/sh\n[ "$1" = -c ] || echo "$*" > {tmp_path}/started\n')
    fake.chmod(0o755)
    return tmp_path


def start(tree: Path, wanted: str = "local") -> bool:
    """Run the shell script; whether it had to start the real work."""
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(tree / "fake-python")}
    subprocess.run([tree / "infra/local/bootstrap.sh", wanted], env=environment, check=True, timeout=20)
    return (tree / "started").exists()


def test_an_environment_in_step_with_its_lock_starts_no_python(tree: Path) -> None:
    assert not start(tree)


def test_a_changed_lock_starts_the_work(tree: Path) -> None:
    with (tree / "requirements/local.lock").open("a") as lock:
        lock.write("another==1.0\n")
    assert start(tree)


def test_what_the_library_is_compared_with_lives_apart(tree: Path) -> None:
    shutil.copy(ROOT / "requirements/bench.lock", tree / "requirements/bench.lock")
    assert start(tree, "bench")
    (tree / "started").unlink()
    (tree / ".local").mkdir()
    shutil.copytree(tree / ".venv", tree / ".local/bench")
    shutil.copy(ROOT / "requirements/bench.lock", tree / ".local/bench/.holdfast/bench.lock")
    assert not start(tree, "bench")
    assert not start(tree)


def test_an_environment_whose_python_is_gone_starts_the_work(tree: Path) -> None:
    (tree / ".venv/bin/python").unlink()
    (tree / ".venv/bin/python").symlink_to(tree / "nowhere")
    assert start(tree)


def test_too_old_a_python_is_named_with_what_to_do(tree: Path) -> None:
    old = tree / "old"
    old.mkdir()
    for name in ("python3", "python3.11", "python3.12", "python3.13", "python3.14"):
        (old / name).write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1 && exit 0\nexit 1\n')
        (old / name).chmod(0o755)
    (tree / ".venv/bin/python").unlink()
    done = subprocess.run(
        [tree / "infra/local/bootstrap.sh", "local"], env={"PATH": f"{old}:/usr/bin:/bin"},
        capture_output=True, text=True, check=False, timeout=20,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("Holdfast needs Python 3.11 or newer. Found: Python 3.8.1.")


def test_pips_mirrors_and_certificates_are_handed_to_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = (
        "global.index-url='https://mirror.internal/simple'\n"
        "global.extra-index-url='\\nhttps://a.internal/simple\\nhttps://b.internal/simple'\n"
        ":env:.cert='/etc/ca.pem'\n"
        "install.find-links='/wheels /more'\n"
    )
    monkeypatch.setattr(bootstrap, "has_pip", lambda _python: True)
    monkeypatch.setattr(bootstrap, "output", lambda _words: listing)
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS", "UV_INDEX_STRATEGY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", "/chosen/by/hand.pem")
    assert bootstrap.pip_settings() == {
        "UV_DEFAULT_INDEX": "https://mirror.internal/simple",
        "UV_INDEX": "https://a.internal/simple https://b.internal/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
    }
