"""Faults by every way that the platform has for them. Each ends by itself after `seconds`, also when we are gone."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import Any

from chaos.session import current
from chaos.targets.target import Replica, Target, TargetError

_MARGIN_SECONDS = 10.0
"""How much longer than the experiment a fault may live: so that it is the experiment that ends it."""


def in_service(service: str, fault: Mapping[str, Any], seconds: float, replicas: int = 0) -> dict[str, Any]:
    """Put a fault into replicas of a service, all of them unless told how many (`/admin/faults`)."""
    session = current()
    body = dict(fault) | {"seconds": seconds + _MARGIN_SECONDS, "experiment": session.run}
    with session.fault(f"{fault['kind']} in {_which(service, replicas)}: {_spelt(fault)}"):
        struck = _each(service, replicas, lambda replica: session.target.fault(replica, body))
    return {"replicas": struck}


def full_disk(service: str, seconds: float) -> dict[str, Any]:
    """Let nothing more be written by a service: its own files where it has them, else what its database would say."""
    target = current().target
    kinds = {target.ask(replica, "GET", "/info")["database"] for replica in target.replicas(service)}
    if kinds == {"sqlite"}:
        return in_service(service, {"kind": "disk"}, seconds)
    return in_service(service, {"kind": "database", "statements": "write", "error": "full"}, seconds)


def in_card_network(behaviour: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Let the simulated card network work worse, for every replica of payment."""
    session = current()
    body = dict(behaviour) | {"seconds": seconds + _MARGIN_SECONDS}
    with session.fault(f"card network: {_spelt(behaviour)}"):
        switched = _each("payment", 0, lambda replica: session.target.ask(replica, "PUT", "/admin/card-network", body))
    return {"replicas": switched}


def in_mesh(service: str, fault: Mapping[str, Any], seconds: float) -> None:
    """Switch the mesh's fault filter on one route of a service."""
    session = current()
    with session.fault(f"mesh in front of {service}: {_spelt(fault)}"):
        session.target.mesh(service, fault, seconds + _MARGIN_SECONDS)


def stop(programs: Sequence[str], seconds: float) -> dict[str, Any]:
    """Take programs, or all replicas of services, away."""
    session = current()
    with session.fault(f"stopped: {', '.join(programs)}"):
        names = _programs(programs)
        for name in names:
            session.target.stop(name, seconds + _MARGIN_SECONDS)
    return {"programs": names}


def pause(programs: Sequence[str], seconds: float) -> dict[str, Any]:
    """SIGSTOP: connections are taken and nothing answers."""
    session = current()
    with session.fault(f"paused: {', '.join(programs)}"):
        names = _programs(programs)
        for name in names:
            session.target.pause(name, seconds + _MARGIN_SECONDS)
    return {"programs": names}


def kill(programs: Sequence[str], times: int = 1, every_seconds: float = 5.0) -> dict[str, Any]:
    """SIGKILL, once or several times. Names are programs, or services, of which one replica is taken each time."""
    session = current()
    killed = []
    # Seeded: the same experiment kills the same replicas.
    chance = Random(session.seed)  # noqa: S311
    with session.fault(f"killed: {', '.join(programs)}"):
        for turn in range(times):
            if turn:
                time.sleep(every_seconds)
            for name in programs:
                running = [replica.name for replica in session.target.replicas(name)] or [name]
                victim = chance.choice(running)
                session.target.kill(victim)
                killed.append(victim)
    return {"killed": killed}


def none() -> None:
    """Nothing at all: the control of the experiment looks at the platform as if there were a fault."""
    with current().fault("none"):
        pass


def lift() -> None:
    """End every fault, everywhere."""
    current().lift()


def _each(service: str, replicas: int, put: Callable[[Replica], Any]) -> list[str]:
    found = list(current().target.replicas(service))
    if not found:
        raise TargetError(f"No replica of {service} runs.")
    chosen = found[:replicas] if replicas else found
    with ThreadPoolExecutor(len(chosen)) as pool:
        list(pool.map(put, chosen))
    return [replica.name for replica in chosen]


def _programs(names: Sequence[str]) -> list[str]:
    target = current().target
    found = [program for name in names for program in _named(target, name)]
    return list(dict.fromkeys(found))


def _named(target: Target, name: str) -> Sequence[str]:
    return [each.name for each in target.replicas(name)] or target.role(name) or [name]


def _which(service: str, replicas: int) -> str:
    return f"{replicas} of {service}" if replicas else service


def _spelt(fault: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in fault.items() if key != "kind")
