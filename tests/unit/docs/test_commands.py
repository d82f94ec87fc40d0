"""Commands in the documentation can be typed: targets, variables and their values, modules, scenarios, addresses."""

import argparse
import contextlib
import io
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec

import yaml
from pydantic import ValidationError

from chaos import definition
from chaos.__main__ import _parser as chaos_parser
from chaos.compare import ladder
from infra.local import control_room, envoy, page
from infra.local.__main__ import _parser as local_parser
from infra.local.settings import SERVICES, LocalSettings
from shared.resilience import Registry
from tests.unit.docs.addresses import serves
from tests.unit.docs.pages import PLACEHOLDER, ROOT, shell

KNOWN_WORDS = {
    *(
        "make",
        "curl",
        "python",
        "python3",
        ".venv/bin/python",
        ".local/bench/bin/python",
        "pytest",
        "pip",
        "git",
        "switch",
    ),
    *(
        "break",
        "cat",
        "cp",
        "cut",
        "date",
        "do",
        "done",
        "echo",
        "export",
        "for",
        "grep",
        "head",
        "jq",
        "kill",
        "mv",
        "rm",
    ),
    *("sed", "seq", "sleep", "sort", "tail", "tar", "tr", "true", "uniq", "wait", "wc"),
}
CLUSTER_WORDS = {"kubectl", "docker", "istioctl", "helm", "kind"}
AWAY = {"localhost:8080/admin"}
"""Named to show that nothing is there."""

COMMANDS = list(shell())
GIVEN = re.compile(r"^[A-Za-z_]\w*=")
LOCAL = re.compile(r"(?:https?://)?(?:localhost|127\.0\.0\.1):(\d+|\$\w+)(/[^?]*)?(?:\?.*)?")


def of(*first: str) -> Iterator[tuple[str, list[str]]]:
    return ((place, words) for place, _, words in COMMANDS if words[0] in first)


@cache
def makefile() -> tuple[dict[str, str], frozenset[str]]:
    """Each target with its recipe, and the words that stand for settings of the stack."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    recipes: dict[str, str] = {}
    here: list[str] = []
    for line in text.splitlines():
        if match := re.match(r"^([a-z-]+(?: [a-z-]+)*):(?!=)(.*)$", line):
            here = match[1].split()
            recipes |= dict.fromkeys(here, match[2])
        elif line.startswith("\t"):
            for target in here:
                recipes[target] += "\n" + line
    short = re.search(r"^SHORT := (.*)$", text, re.MULTILINE)
    assert short is not None
    whichever = {
        target: text.replace("$(WHICHEVER)", "STACK").replace("packages", "STACK") for target, text in recipes.items()
    }
    return whichever, frozenset(short[1].split())


@cache
def names_of_tests() -> str:
    sources = list((ROOT / "tests").rglob("test_*.py"))
    found = [each for path in sources for each in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))]
    return "\n".join([*found, *(path.name for path in sources)]).lower()


@cache
def programs() -> frozenset[str]:
    stack = LocalSettings.model_construct()
    replicas = {f"{each.name}-{n}" for each in SERVICES for n in range(1, stack.slots(each) + 1)}
    others = {"nats", "postgres", "prometheus", "alertmanager", envoy.PROGRAM, control_room.PROGRAM, page.PROGRAM}
    containers = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    return frozenset(replicas | others | {each.name for each in SERVICES} | {*containers})


def is_selection_of_tests(words: str) -> bool:
    chosen = shlex.split(words)
    asked = [chosen[index + 1] for index, word in enumerate(chosen) if word == "-k"]
    paths = [word for word in chosen if word.startswith("tests/")]
    return all(word.lower() in names_of_tests() for word in asked) and all((ROOT / path).exists() for path in paths)


def is_setting(name: str, value: str) -> bool:
    try:
        LocalSettings.model_validate({name.lower(): value})
    except ValidationError:
        return False
    return True


VALUES: dict[str, Callable[[str], bool]] = {
    "SCENARIO": lambda name: name in definition.names(),
    "SCENARIOS": lambda names: set(names.split()) <= set(definition.names()),
    "SERVICE": lambda name: name in programs(),
    "PROGRAM": lambda name: name in programs(),
    "KIND": lambda kind: kind in ("pause", "stop"),
    "SIGNAL": lambda name: f"SIG{name}" in signal.Signals.__members__,
    "STACK": lambda name: name in ("auto", "local", "compose"),
    "MODE": lambda name: name in ("shadow", "approve", "auto"),
    "DAY": lambda name: name in ("monday", "tuesday", "wednesday", "thursday", "friday"),
    "N": str.isdecimal,
    "RATE": lambda rate: float(rate) > 0,
    "SECONDS": lambda seconds: float(seconds) > 0,
}


def wrong_in_make(words: list[str]) -> Iterator[str]:
    recipes, short = makefile()
    given = dict(word.split("=", 1) for word in words[1:] if GIVEN.match(word))
    for target in (word for word in words[1:] if not GIVEN.match(word) and not word.startswith("-") and word != "..."):
        if target not in recipes:
            yield f"no target {target}"
            continue
        for name, value in given.items():
            if name not in short and not re.search(rf"\b{name}\b", recipes[target]):
                yield f"{target} does not read {name}"
            if PLACEHOLDER in value or "..." in value or "$" in value:
                continue
            if (name in VALUES and not VALUES[name](value)) or (name in short and not is_setting(name, value)):
                yield f"{name}={value}"
            if (name, target) == ("ARGS", "test") and not is_selection_of_tests(value):
                yield f"no test is chosen by {value}"
        if "CHAOS" in given and target in ("chaos", "compare"):
            yield from wrong_in_chaos("run" if target == "chaos" else target, given.get("SCENARIO", ""), given["CHAOS"])


def wrong_in_chaos(command: str, scenario: str, words: str) -> Iterator[str]:
    chosen = parsed(chaos_parser(), [command, scenario, *shlex.split(words)])
    if chosen is None:
        yield f"CHAOS={words}"
    elif command == "compare" and not {*chosen.rungs} <= {rung.name for rung in ladder.load().rungs}:
        yield f"no such rung: {chosen.rungs}"


def parsed(parser: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace | None:
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return parser.parse_args(words)
    except SystemExit as ended:
        return argparse.Namespace() if ended.code == 0 else None


def wrong_in_python(words: list[str]) -> Iterator[str]:
    if words[1:2] != ["-m"] or PLACEHOLDER in words[2] or words[2].endswith("."):
        return
    module, rest = words[2], words[3:]
    if find_spec(module) is None:
        yield f"no module {module}"
    parsers = {"infra.local": local_parser, "chaos": chaos_parser}
    if rest and module in parsers and PLACEHOLDER not in " ".join(rest):
        # the words may be the beginning of a command
        takes = [parsed(parsers[module](), rest), parsed(parsers[module](), [*rest, "--help"])]
        if takes == [None, None]:
            yield f"{module} does not take {rest}"
    elif rest and module == "shared.messaging.dead_letters" and rest[0] not in ("list", "show", "replay", "discard"):
        yield f"{module} does not take {rest}"


def wrong_in_curl(words: list[str]) -> Iterator[str]:
    urls = [word for word in words if re.match(r"(https?://)?(localhost|127\.0\.0\.1)[:/]", word)]
    if not urls and "..." not in words:
        yield "asks nobody here"
    for url in set(urls) - AWAY:
        found = LOCAL.fullmatch(url)
        if found is None:
            yield f"cannot read {url}"
        elif "$" not in found[1] and "$" not in (found[2] or "") and not serves(int(found[1]), found[2] or "/"):
            yield f"nothing answers {url}"


def complaints(check: Callable[[list[str]], Iterator[str]], *first: str, at_least: int) -> list[str]:
    found = list(of(*first))
    assert len(found) >= at_least, "the commands were not found"
    return [f"{place}: {wrong}" for place, words in found for wrong in check(words)]


def test_make_can_read_the_makefile() -> None:
    subprocess.run(["make", "--dry-run", "help"], cwd=ROOT, check=True, capture_output=True, timeout=60)


def test_every_make_command_names_a_target_that_reads_what_it_is_given() -> None:
    assert complaints(wrong_in_make, "make", at_least=100) == []


def test_every_module_that_is_to_be_run_is_there_and_knows_the_command() -> None:
    assert complaints(wrong_in_python, "python", "python3", ".venv/bin/python", at_least=10) == []


def test_every_address_is_one_that_the_stack_answers() -> None:
    assert complaints(wrong_in_curl, "curl", at_least=20) == []


def test_every_command_in_a_block_is_known_and_those_for_a_cluster_are_marked_so() -> None:
    unknown = [
        f"{place}: {words[0]}"
        for place, cluster, words in COMMANDS
        if not (GIVEN.match(words[0]) or words[0].endswith("()"))
        and words[0] not in KNOWN_WORDS | (CLUSTER_WORDS if cluster else set())
    ]
    assert unknown == []
    marked = {place.partition(":")[0] for place, cluster, _ in COMMANDS if cluster}
    page = "infra/kubernetes/components/control-room/README.md"
    untried = {"docs/chaos.md", "docs/kubernetes.md", "infra/istio/README.md", page}
    assert marked == untried, "what can only be tried with a cluster, or with an engine for containers"


def test_every_layer_that_a_page_switches_off_is_one_that_the_pipeline_has() -> None:
    registry = Registry.from_file(ROOT / "services" / "order" / "resilience.yaml")
    text = (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8")
    switched = set(re.findall(r"`([a-z]+\.[a-z]+) (\w+) false`", text))
    assert len(switched) > 7
    assert [each for each in switched if each[1] not in registry.pipeline(each[0]).layers] == []


def test_what_is_wrong_is_noticed() -> None:
    wrong = {
        "make upp": wrong_in_make,
        "make up PORTT=1": wrong_in_make,
        "make chaos SCENARIO=payment-up": wrong_in_make,
        'make test ARGS="-k nobody_wrote_this"': wrong_in_make,
        'make chaos SCENARIO=control CHAOS="--fault-minutes 1"': wrong_in_make,
        "make compare SCENARIO=payment-down CHAOS=\"'+ luck'\"": wrong_in_make,
        "python -m infra.locale": wrong_in_python,
        "python -m infra.local scala": wrong_in_python,
        "curl localhost:8080/ordres": wrong_in_curl,
        "curl localhost:8101/admin/resilience/payment.process/extra/words": wrong_in_curl,
        "curl localhost:8079/orders": wrong_in_curl,
    }
    assert [command for command, check in wrong.items() if not list(check(shlex.split(command)))] == []
