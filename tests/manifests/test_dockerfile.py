"""The one Dockerfile: pinned, without root, without tools, and with nothing in its context that it does not need."""

import re

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
    for final in (whole.split("AS service")[1], whole.split("AS gate\n")[1].split("\nFROM")[0]):
        assert "RUN" not in final, "the final image is put together from files, not built in place"
        assert "USER" in final


def test_packages_are_installed_by_hash_from_the_runtime_lock_without_a_compiler() -> None:
    (install,) = [line for line in instructions("RUN") if "pip install" in line]
    for option in ("--require-hashes", "--no-deps", "--only-binary :all:", "-r /build/runtime.lock"):
        assert option in install
    assert "apt" not in "".join(instructions("RUN"))
    lock = (ROOT / "requirements" / "runtime.lock").read_text(encoding="utf-8")
    assert "asyncpg==" in lock


def test_the_image_has_a_health_check_that_needs_nothing_but_python() -> None:
    (check, off) = instructions("HEALTHCHECK")
    assert '"python3", "-I", "-S", "/app/health.py"' in check
    assert off == "NONE"


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
        assert not re.search(r"(?i)password|token|_key|secret=", line), line
