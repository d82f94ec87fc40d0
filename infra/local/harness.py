"""Stacks for tests and experiments: in a directory of their own, on free ports, next to any other stack."""

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.local import ports, sources
from infra.local.errors import StackError
from infra.local.settings import SERVICES, LocalSettings
from infra.local.stack import LocalStack

# Below the range from which the kernel takes ports for outgoing connections (32768 on Linux).
_LOWEST, _HIGHEST = 15_000, 32_000
# Tests of others may have the machine.
_READY_SECONDS = 150.0
_INFRASTRUCTURE = (
    "nats_port",
    "nats_monitor_port",
    "postgres_port",
    "prometheus_port",
    "alertmanager_port",
    "port_control_room",
    "port_page",
    "port_predictor",
    "port_remediation",
    "envoy_stats_port",
)
MESH = "HOLDFAST_TEST_MESH"
"""The variable that says with which mesh stacks are made here: `envoy` (the default) or `off`."""


def settings_for(directory: Path, **overrides: Any) -> LocalSettings:
    """Settings of a stack under `directory` on free ports of the loopback address.

    Two slots a service, no Prometheus, page, traces or predictor, and the mesh that `HOLDFAST_TEST_MESH` names, unless
    told otherwise. Neither `holdfast.toml` nor its ports matter here.

    Raises:
        StackError: no run of free ports was found.
    """
    slots = {f"slots_{service.key}": 2 for service in SERVICES}
    wanted = slots | {key: value for key, value in overrides.items() if key.startswith("slots_")}
    count = sum(wanted.values()) + len(SERVICES) + len(_INFRASTRUCTURE)
    chooser = random.SystemRandom()
    for _ in range(200):
        first = chooser.randrange(_LOWEST, _HIGHEST - count)
        if all(ports.free("127.0.0.1", port) for port in range(first, first + count)):
            chosen = _lay_out(first, wanted)
            mesh = os.environ.get(MESH) or "envoy"
            usual = {
                "state_dir": directory,
                "prometheus": "off",
                "page": "off",
                "prediction": "off",
                "traces": "off",
                "mesh": mesh,
                "ready_timeout": _READY_SECONDS,
            }
            return sources.load(Path("/nonexistent"), **(wanted | usual | chosen | overrides))
    raise StackError(f"No {count} free ports in a row were found.")


def own_stack(directory: Path, **overrides: Any) -> LocalStack:
    """A stack with `settings_for` these, not up; once it is, it ends with this process, even if that is killed."""
    return LocalStack(settings_for(directory, **overrides), owner=os.getpid())


@contextlib.contextmanager
def running_stack(directory: Path, **overrides: Any) -> Iterator[LocalStack]:
    """A stack that is up inside the block and leaves nothing behind, also when this process is killed in it."""
    stack = own_stack(directory, **overrides)
    try:
        stack.up()
        yield stack
    finally:
        stack.down()


def _lay_out(first: int, slots: dict[str, int]) -> dict[str, int]:
    chosen = {setting: first + offset for offset, setting in enumerate(_INFRASTRUCTURE)}
    port = first + len(_INFRASTRUCTURE)
    for service in SERVICES:
        chosen[LocalSettings.service_port_setting(service)] = port
        chosen[f"replica_port_{service.key}"] = port + 1
        port += 1 + slots[f"slots_{service.key}"]
    return chosen
