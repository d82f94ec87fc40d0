"""Faults that the services have a layer for, by kind: what does nearly the same from outside, or why nothing does."""

from collections.abc import Callable, Mapping
from typing import Any

from chaos.render import cluster
from chaos.render.fault import Fault, HttpFault, NotExpressible, delayed, http_chaos, labels_of


def in_service(program: str, fault: Mapping[str, Any]) -> Fault:
    """What stands for a fault of `/admin/faults` in a program. Raises `NotExpressible`."""
    try:
        make = _BY_KIND[fault["kind"]]
    except KeyError:
        raise NotExpressible(f"the fault {fault['kind']} has no counterpart") from None
    return make(program, fault)


def _http(program: str, fault: Mapping[str, Any]) -> Fault:
    labels = labels_of(program)
    delay = int(fault.get("latency_ms", 0))
    if cluster.is_one_replica(program):
        text = "everything that the pod says to order is late, health checks are not"
        return delayed(labels["app"], "order", {"latency": f"{delay}ms"}, "one", text)
    http = HttpFault(
        labels["app"],
        str(fault["path"]),
        str(fault.get("method", "")),
        labels.get("version", ""),
        delay,
        int(fault.get("status", 0)),
        bool(fault.get("abort", False)),
        float(fault.get("rate", 1.0)),
    )
    return http_chaos(http)


def _database(program: str, fault: Mapping[str, Any]) -> Fault:
    if fault.get("error") == "locked":
        raise NotExpressible("a lock is the database's own: `LOCK TABLE` in a session of psql does it")
    service = labels_of(program)["app"]
    if fault.get("error") == "full":
        spec = {
            "action": "fault",
            "mode": "all",
            "selector": cluster.selector(cluster.DATABASE),
            "containerNames": [cluster.DATABASE_CONTAINER],
            "volumePath": cluster.DATABASE_VOLUME,
            "path": f"{cluster.DATABASE_VOLUME}/**/*",
            "methods": ["WRITE"],
            "errno": 28,
            "percent": 100,
        }
        text = f"the disk is the database's, which {service} shares with the others: all of them are hit"
        return Fault("IOChaos", spec, f"{text}; only where Postgres runs in the namespace")
    spec = {
        "action": "delay",
        "mode": "all",
        "selector": cluster.selector(cluster.DATABASE),
        "direction": "to",
        "target": {"mode": "all", "selector": cluster.selector({"app": service})},
        "delay": {"latency": f"{int(fault['latency_ms'])}ms"},
    }
    text = "each answer of the database is late, not each statement; only where Postgres runs in the namespace"
    return Fault("NetworkChaos", spec, text)


def _network(program: str, fault: Mapping[str, Any]) -> Fault:
    caller, called = labels_of(program), labels_of(str(fault["to"]))
    if fault["error"] == "dns":
        spec = {
            "action": "error",
            "mode": "all",
            "selector": cluster.selector(caller),
            "containerNames": [cluster.CONTAINER],
            "patterns": [f"{called['app']}*"],
        }
        differs = "only new connections ask for the name: those that are open go on. Needs the component dns-drill"
        return Fault("DNSChaos", spec, differs)
    if "on_ms" in fault:
        share = 100 * float(fault["on_ms"]) / (float(fault["on_ms"]) + float(fault["off_ms"]))
        spec = {
            "action": "loss",
            "mode": "all",
            "selector": cluster.selector(called),
            "direction": "to",
            "target": {"mode": "all", "selector": cluster.selector(caller)},
            "loss": {"loss": f"{share:.0f}", "correlation": "90"},
        }
        differs = "nothing here comes and goes within a second: packets are lost, mostly several in a row"
        return Fault("NetworkChaos", spec, differs)
    spec = {
        "action": "partition",
        "mode": "all",
        "selector": cluster.selector(caller),
        "direction": "both",
        "target": {"mode": "all", "selector": cluster.selector(called)},
    }
    return Fault("NetworkChaos", spec)


def _cpu(program: str, fault: Mapping[str, Any]) -> Fault:
    load = round(float(fault["share"]) * 100)
    stressors = {"cpu": {"workers": 1, "load": load}}
    return _stress(
        program, stressors, "a process beside the service's, within the container's limit, and not its own loop"
    )


def _memory(program: str, fault: Mapping[str, Any]) -> Fault:
    wanted = int(fault["max_mb"])
    size = min(wanted, cluster.FREE_MEMORY_MB)
    differs = "taken at once, by a process beside the service's"
    if size < wanted:
        differs += f"; {size} MB instead of {wanted}, as the container's limit ends in a kill"
    return _stress(program, {"memory": {"workers": 1, "size": f"{size}MB"}}, differs)


def _stress(program: str, stressors: Mapping[str, Any], differs: str) -> Fault:
    spec = {
        "mode": "all",
        "selector": cluster.selector(labels_of(program)),
        "containerNames": [cluster.CONTAINER],
        "stressors": stressors,
    }
    return Fault("StressChaos", spec, differs)


def _clock(program: str, fault: Mapping[str, Any]) -> Fault:
    spec = {
        "mode": "all",
        "selector": cluster.selector(labels_of(program)),
        "containerNames": [cluster.CONTAINER],
        "timeOffset": f"{int(fault['offset_seconds'])}s",
        "clockIds": ["CLOCK_REALTIME"],
    }
    return Fault("TimeChaos", spec)


def _loop(_program: str, _fault: Mapping[str, Any]) -> Fault:
    raise NotExpressible("a blocked event loop is inside the process; the service's own fault layer does it")


def _pool(_program: str, _fault: Mapping[str, Any]) -> Fault:
    raise NotExpressible("the connections are held inside the process; the service's own fault layer does it")


_BY_KIND: Mapping[str, Callable[[str, Mapping[str, Any]], Fault]] = {
    "http": _http,
    "database": _database,
    "network": _network,
    "cpu": _cpu,
    "memory": _memory,
    "clock": _clock,
    "loop": _loop,
    "pool": _pool,
}
