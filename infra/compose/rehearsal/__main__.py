"""`make rehearse-compose`: the stack of containers with a real engine, where no registry can be reached.

Builds stand-ins for the images of Postgres, NATS, Envoy, Prometheus and Alertmanager, and our own upon a stand-in
base: services, the control room's page, the predictor and what acts on it. Brings that part of docker-compose.yml up,
breaks it, checks it, and takes it all down. OpenTelemetry's Collector,
Jaeger and Grafana have no stand-ins: they are not started. Exit code 0 when every check has passed.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import httpx

from infra.compose.engine import Engine, EngineError
from infra.compose.rehearsal import experiments, images, private_engine
from infra.compose.rehearsal.checks import Checks, Failed
from infra.compose.stack import ComposeStack
from infra.local.errors import StackError
from infra.local.harness import settings_for

STARTED = ("envoy", "prometheus", "alertmanager", "page", "predictor", "remediation")
CHOSEN = {
    "replicas_order": 2,
    "replicas_inventory": 2,
    "page": "on",
    "prediction": "auto",
    "remediation": "approve",
    "minute_seconds": 5,
}


class Rehearsal:
    """One run; counts what passed and what failed."""

    def __init__(self) -> None:
        self.passed = self.failed = 0
        self._began = time.monotonic()

    def say(self, line: str) -> None:
        """One line of progress, with the time since the start."""
        sys.stdout.write(f"{time.monotonic() - self._began:6.1f} s  {line}\n")
        sys.stdout.flush()

    def check(self, what: str, look: Callable[[], str]) -> str:
        """Run one check and tell how it went; what comes after goes on in any case."""
        try:
            saw = look()
        except (Failed, EngineError, StackError, httpx.HTTPError) as error:
            self.failed += 1
            self.say(f"FAIL  {what}: {error or type(error).__name__}")
            return ""
        self.passed += 1
        self.say(f"PASS  {what}: {saw}")
        return saw


def main() -> int:
    """Rehearse once; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.compose.rehearsal", description=__doc__)
    parser.add_argument("--keep-images", action="store_true", help="the next rehearsal with this engine takes a minute")
    parser.add_argument("--experiments", nargs="+", default=[], metavar="NAME", help="these in place of the checks")
    chosen = parser.parse_args()
    rehearsal = Rehearsal()
    try:
        with private_engine.engine() as engine:
            version = engine.run("version", "--format", "{{.Server.Version}}").strip()
            driver = engine.run("info", "--format", "{{.Driver}}").strip()
            rehearsal.say(f"engine {version}, {driver}; {' '.join(engine.compose)}")
            try:
                _rehearse(rehearsal, engine, chosen.experiments)
            finally:
                if not chosen.keep_images:
                    images.remove(engine)
    except (EngineError, StackError) as error:
        rehearsal.say(f"FAIL  {error}")
        return 1
    rehearsal.say(f"{rehearsal.passed} passed, {rehearsal.failed} failed")
    return 1 if rehearsal.failed else 0


def _rehearse(rehearsal: Rehearsal, engine: Engine, names: Sequence[str]) -> None:
    images.build(engine, lambda line: rehearsal.say(f"building: {line}"))
    for name, size, above in images.sizes(engine):
        rehearsal.say(f"image {name}: {size / 1e6:.0f} MB, {above / 1e6:.0f} MB of it above the base")
    directory = Path(tempfile.mkdtemp(prefix="holdfast-rehearsal-"))
    more = images.variables() | {"HOLDFAST_OTLP_ENDPOINT": ""}
    stack = ComposeStack(settings_for(directory, **CHOSEN), engine, lambda _line: None, more)
    try:
        rehearsal.check("docker-compose.yml is valid", lambda: f"{len(stack.images())} services")
        stack.up(STARTED, build=False)
        rehearsal.say(f"up: {', '.join(each.service for each in stack.status())}, all healthy")
        with httpx.Client(base_url=f"http://127.0.0.1:{stack.settings.port}", timeout=20, trust_env=False) as client:
            for name in names:
                rehearsal.check(f"experiment {name}", partial(experiments.run, stack, name, more))
            if not names:
                _checks(rehearsal, stack, Checks(stack, client))
    finally:
        try:
            stack.down()
        finally:
            shutil.rmtree(directory)
    rehearsal.check("nothing is left", lambda: _nothing_left(stack))


def _checks(rehearsal: Rehearsal, stack: ComposeStack, checks: Checks) -> None:
    check = rehearsal.check
    check("an order through Envoy is 201 CONFIRMED", lambda: checks.order(201, "CONFIRMED"))
    check("non-root, read-only, no capabilities", checks.locked_down)
    check("published on loopback only", checks.published)
    check("the services cannot reach the outside", checks.no_way_out)
    check("payment and inventory refuse a call without a token", checks.refused_without_token)

    check("payment-v1, killed, comes back", lambda: checks.recovers("payment-v1"))
    check("and takes orders again", lambda: checks.order(201, "CONFIRMED"))

    stack.stop("payment-v1", "payment-v2")
    waiting = check("without payment an order is 202 PENDING_PAYMENT", lambda: checks.order(202, "PENDING_PAYMENT"))
    check("order, both replicas killed, comes back", lambda: checks.recovers("order"))
    stack.start("payment-v1", "payment-v2")
    check("the order that waited has settled by itself", lambda: checks.settles(waiting))

    for service in ("postgres", "nats", "envoy"):
        check(f"{service}, killed, comes back", partial(checks.recovers, service))
    check("and orders go on", lambda: checks.order(201, "CONFIRMED"))

    check("Prometheus scrapes them all", lambda: checks.scraped(6))
    check("the page is for who knows its name, and its levers for who is logged in", checks.page_guarded)
    check("the page finds every replica, and the breakers of both of order's", lambda: checks.page_replicas(6))
    check("the page shows what the predictor says of each service", checks.page_predictions)
    check("the page shows what waits for a person's word, and throws the kill switch", checks.page_approvals)
    check("the page names the commands for what is not beside it", checks.page_commands)

    check("the auditor's role cannot write", checks.auditor_cannot_write)
    check("the auditor finds the three databases in order", lambda: _audited(stack))


def _audited(stack: ComposeStack) -> str:
    try:
        said = stack.tool("-m", "infra.audit", "--settled")
    except EngineError as error:
        raise Failed(f"{error}\n{error.written}") from error
    return "\n                ".join(said.strip().splitlines())


def _nothing_left(stack: ComposeStack) -> str:
    left = [each.name for each in stack.status()]
    label = f"label=com.docker.compose.project={stack.project}"
    networks = stack.engine.run("network", "ls", "--quiet", "--filter", label).split()
    if left or networks:
        raise Failed(f"containers {left}, networks {networks}")
    return "no container and no network"


if __name__ == "__main__":
    sys.exit(main())
