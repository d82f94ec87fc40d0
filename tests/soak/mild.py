"""Mild faults: what happens to any platform now and then, and what it has to take without growing."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from urllib.request import Request, urlopen

from infra.local.faults import StackFaults
from infra.local.stack import LocalStack

RECOVERY_SECONDS = 10.0
"""After the end of a fault until samples count again: queues empty, breakers close, replicas come back."""
_HTTP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something mild. `seconds` is how long it lasts; `begin` starts it, and it ends by itself."""

    name: str
    seconds: float
    begin: Callable[[LocalStack], None]


def _killed(replica: str) -> Fault:
    return Fault(f"{replica} killed", 3.0, lambda stack: _ignore(stack.kill(replica, "KILL")))


def _paused(replica: str, seconds: float = 5.0) -> Fault:
    return Fault(f"{replica} paused", seconds, lambda stack: _ignore(StackFaults(stack).pause(replica, seconds)))


def _inside(name: str, replica: str, seconds: float, fault: Mapping[str, object]) -> Fault:
    def begin(stack: LocalStack) -> None:
        token = stack.secret("operator", "admin_token")
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        body = json.dumps({**fault, "seconds": seconds}).encode()
        urlopen(Request(f"{stack.url(replica)}/admin/faults", body, headers), timeout=_HTTP_SECONDS).close()

    return Fault(f"{name} of {replica}", seconds, begin)


def _ignore(_: object) -> None:
    """What a command returns."""


_CHARGES = {"kind": "http", "path": "/process"}
_STATEMENTS = {"kind": "database", "statements": "any"}
FAULTS = (
    _killed("order-2"),
    _killed("payment-2"),
    _killed("inventory-2"),
    _paused("order-2"),
    _paused("payment-2"),
    _paused("inventory-2"),
    Fault("broker restarted", 3.0, lambda stack: stack.restart("nats")),
    _inside("charges 200 ms slower", "payment-1", 15.0, _CHARGES | {"latency_ms": 200}),
    _inside("a fifth of the charges failing", "payment-1", 15.0, _CHARGES | {"status": 503, "rate": 0.2}),
    _inside("statements 20 ms slower", "inventory-1", 15.0, _STATEMENTS | {"latency_ms": 20}),
    _inside("two connections missing", "order-1", 15.0, {"kind": "pool", "pool": "read", "connections": 2}),
    _inside("calls refused", "order-1", 10.0, {"kind": "network", "to": "payment", "error": "refused", "rate": 0.1}),
    _inside("loop blocked now and then", "payment-1", 10.0, {"kind": "loop", "block_ms": 60, "every_ms": 1000}),
)
"""Each of one replica of two: the others serve."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault and when it begins, in seconds from the beginning of the soak."""

    at: float
    fault: Fault


def plan(seconds: float, random: Random) -> list[Planned]:
    """About one every few minutes, five at least; in a soak of five minutes that is one a minute.

    Each kind comes once before one comes again. The last fifth of the time is calm: what stays after all of them shows.
    """
    every = min(240.0, seconds / 5)
    kinds = _kinds(random)
    planned = []
    at = every * random.uniform(0.6, 0.9)
    while at < seconds * 0.8:
        planned.append(Planned(at, next(kinds)))
        at += every * random.uniform(0.75, 1.25)
    return planned


def _kinds(random: Random) -> Iterator[Fault]:
    while True:
        yield from random.sample(FAULTS, len(FAULTS))
