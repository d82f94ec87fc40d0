"""The README's tour of five minutes, command by command as it is written, on a platform of other ports."""

import os
import re
import signal
import subprocess
import uuid
from collections.abc import Mapping

import pytest

from infra.local.settings import PREFIX, ROOT
from infra.local.stack import LocalStack
from tests.fixtures.waiting import until

_PATIENCE_SECONDS = 240

DONE_ELSEWHERE = {
    "make up": "the platform is up: test_local_stack.py",
    "make down": "it is still needed: test_local_stack.py",
    "make reset": "it is still needed: test_local_stack.py",
    "make restart MESH=off": "test_both_meshes.py",
    "make chaos SCENARIO=payment-down": "a minute: test_chaos.py runs experiments",
    "make gameday": "many minutes: test_chaos.py runs experiments",
}


def tour() -> list[str]:
    """Every command of the tour, in its order."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Five minutes\n")[2].partition("\n## ")[0]
    found = re.findall(r"```sh\n(.*?)```|`((?:make|curl) [^`]+)`", text, re.DOTALL)
    return [(block or inline).strip() for block, inline in found]


class Shell:
    """Types commands of the README, with the platform's ports in the place of the usual ones."""

    def __init__(self, stack: LocalStack, untouched: set[str]) -> None:
        settings = stack.settings
        self.left = untouched
        self._env = os.environ | {f"{PREFIX}{key.upper()}": str(value) for key, value in settings.model_dump().items()}
        self._ports = {8080: settings.port, 8081: settings.port_payment}

    def __call__(self, command: str, changes: Mapping[str, str] | None = None) -> str:
        """What the command says. `changes`: what is typed in the place of what is written."""
        assert command in tour(), "the README has another one"
        self.left.discard(command)
        for usual, ours in self._ports.items():
            command = command.replace(f"localhost:{usual}", f"localhost:{ours}")
        for written, typed in (changes or {}).items():
            assert written in command, written
            command = command.replace(written, typed)
        # the packages are here already, or this test would not run
        command = re.sub(r"^make ", "make -s BOOTSTRAP=true ", command)
        with subprocess.Popen(
            ["bash", "-c", command],
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as running:
            try:
                said, _ = running.communicate(timeout=_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                # what the shell has started as well, or it holds the stack's lock when the stack is to end
                os.killpg(running.pid, signal.SIGKILL)
                raise
        assert running.returncode == 0, f"{command}\n{said}"
        return said


def placed(
    typed: Shell, place: str, expected: str, changes: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """The expected answer to an order, and what was typed in the place of what is written.

    A machine that is busy with other tests may refuse an order or let it wait: then another one is placed.
    """
    for _ in range(40):
        typing = {**(changes or {}), "first": f"tour-{uuid.uuid4().hex[:8]}"}
        said = typed(place, typing)
        if expected in said:
            return said, typing
    raise AssertionError(f"no {expected}: {said}")


@pytest.mark.timeout(900)  # twenty commands, each a process that begins: slow on a machine that others have
def test_every_command_of_the_readmes_tour_does_what_it_says(platform: LocalStack) -> None:
    typed = Shell(platform, set(tour()) - set(DONE_ELSEWHERE))
    assert set(DONE_ELSEWHERE) <= set(tour())
    (place,) = [command for command in tour() if "\n" in command]
    ready = "curl -sS http://localhost:8080/health/ready"
    waiting = "curl -sS 'http://localhost:8080/orders?state=PENDING_PAYMENT'"

    first, changes = placed(typed, place, '"CONFIRMED"')
    assert typed(place, changes) == first
    order = re.search(r'"(ord_\w+)"', first)
    assert order is not None
    steps = typed("curl -sS http://localhost:8080/orders/<id>", {"<id>": order[1]})
    assert steps.index("RESERVING") < steps.index("CHARGING") < steps.index("CONFIRMING")
    placed(typed, place, "card-declined", {"4242424242424242": "4000000000000002"})
    assert "orders in" in typed("make load RATE=20 SECONDS=30", {"RATE=20 SECONDS=30": "RATE=10 SECONDS=2"})

    try:
        typed("make scale SERVICE=payment N=0")
        typed("make scale SERVICE=payment-v2 N=0")
        placed(typed, place, '"PENDING_PAYMENT"')
        typed("make load RATE=10 SECONDS=5")
        assert re.search(r'"payment": ?"(open|half_open)"', typed(ready))
    finally:
        typed("make scale SERVICE=payment N=1")
        typed("make scale SERVICE=payment-v2 N=1")
    until(lambda: '"items":[]' in typed(waiting).replace(" ", ""), seconds=90)

    for killed in ("order-1", "nats", "inventory-1"):
        typed(f"make kill SERVICE={killed}")
    platform.wait_ready(seconds=90)
    until(lambda: re.search(r'"payment": ?"closed"', typed(ready)), seconds=60)
    assert "clean: every invariant holds" in typed("make audit")

    canary = typed("curl -sS localhost:8081/test-cards -D - -o /dev/null -H 'x-api-version: v2'")
    assert re.search(r"x-api-version: v2", canary, re.IGNORECASE)
    hops = typed("make logs SERVICE=envoy")
    trace = re.search(r'"trace_id": ?"(\w{32})"', hops)
    assert re.search(r'"event": ?"hop"', hops)
    assert trace is not None
    assert "payment-down" in typed("make chaos")
    assert "No fault acts any more." in typed("make chaos-stop")
    assert "order-1" in typed("make status")
    (by_trace,) = [command for command in tour() if "TRACE=" in command]
    typed(by_trace, {"<x-trace-id of an answer>": trace[1]})
    assert typed.left == set()
