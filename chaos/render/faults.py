"""What Chaos Mesh does to pods for each fault of an experiment, or why it cannot."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.render import cluster

_ACTIONS = "chaos.actions."
_LINGERS = frozenset({"hold", "lift"})


class NotExpressible(Exception):
    """Chaos Mesh has nothing that does the same; the message is the reason."""


@dataclass(frozen=True, slots=True)
class HttpFault:
    """A fault of HTTP answers, which a proxy can make, too. `share` of the calls; a status of 0 is none."""

    service: str
    path: str
    method: str = ""
    version: str = ""
    delay_ms: int = 0
    status: int = 0
    cut: bool = False
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One object of Chaos Mesh, without the time that it lasts.

    Attributes:
        kind: of the object.
        spec: its spec, without `duration`.
        differs: how it is not the same as in the local stack; empty when it is.
        times: how often it is done, for what happens at once.
        every_seconds: how far apart.
        http: the same as an HTTP fault, where it is one.
    """

    kind: str
    spec: Mapping[str, Any]
    differs: str = ""
    times: int = 1
    every_seconds: float = 0.0
    http: HttpFault | None = None

    @property
    def is_an_instant(self) -> bool:
        """Done at once, so that it has no duration."""
        return self.spec.get("action") == "pod-kill"


def fault_of(experiment: Mapping[str, Any]) -> Fault:
    """The fault of an experiment. With several the last counts, as the others only prepare it.

    Raises:
        NotExpressible: with the reason.
    """
    actions = [
        step["provider"]
        for step in experiment["method"]
        if step["type"] == "action"
        and step["provider"]["module"].startswith(_ACTIONS)
        and step["provider"]["func"] not in _LINGERS
    ]
    last = actions[-1]
    try:
        make = _BY_ACTION[last["func"]]
    except KeyError:
        raise NotExpressible(f"the action {last['func']} has no counterpart") from None
    return make(last.get("arguments", {}))


def _nothing(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("nothing is broken: in the week's workflows the gate alone watches for that long")


def _poison(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("a message is no fault of the infrastructure; Chaos Mesh has no broker to send it to")


def _surge(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("it is load, and Chaos Mesh makes none: run the load generator against the edge")


def _stop(arguments: Mapping[str, Any]) -> Fault:
    found = [(program, cluster.labels(program)) for program in arguments["programs"]]
    here = [labels for _, labels in found if labels]
    if len(here) != 1:
        raise NotExpressible("one selector cannot name pods of several labels")
    elsewhere = [program for program, labels in found if not labels]
    differs = "the kubelet ends the container first, with its preStop and drain: down a few seconds later"
    if elsewhere:
        differs = f"{differs}; {', '.join(elsewhere)} stays, as the gate needs it; spans go to the collector and Jaeger"
    return Fault("PodChaos", {"action": "pod-failure", "mode": "all", "selector": cluster.selector(here[0])}, differs)


def _kill(arguments: Mapping[str, Any]) -> Fault:
    (program,) = arguments["programs"]
    spec = {
        "action": "pod-kill",
        "mode": "one",
        "gracePeriod": 0,
        "selector": cluster.selector(_labels(program)),
    }
    times = int(arguments.get("times", 1))
    differs = "a new pod takes its place, on any node"
    if times > 1:
        differs += f"; applied by hand it is one kill, in the week's workflow {times}"
    return Fault("PodChaos", spec, differs, times, float(arguments.get("every_seconds", 5.0)))


def _pause(arguments: Mapping[str, Any]) -> Fault:
    (program,) = arguments["programs"]
    return Fault(
        "NetworkChaos",
        {
            "action": "loss",
            "mode": "one",
            "selector": cluster.selector(_labels(program)),
            "direction": "to",
            "loss": {"loss": "100"},
        },
        "no signal stops a pod's process: everything that it says is lost instead, so new connections hang, too",
    )


def _card_network(arguments: Mapping[str, Any]) -> Fault:
    behaviour = arguments["behaviour"]
    if "lost_requests" in behaviour:
        share = float(behaviour["lost_requests"])
        http = HttpFault("payment", "/process", "POST", status=503, share=share)
        return _http_chaos(http, "the card network is inside payment: its pods fail instead, whole pods of it")
    median, p99 = int(behaviour["latency_median_ms"]), int(behaviour["latency_p99_ms"])
    delay = {"latency": f"{median}ms", "jitter": f"{p99 - median}ms", "correlation": "50"}
    return _delay(
        "payment", "order", delay, "all", "the card network is inside payment: what payment says to order is late"
    )


def _in_service(arguments: Mapping[str, Any]) -> Fault:
    fault = arguments["fault"]
    try:
        make = _BY_KIND[fault["kind"]]
    except KeyError:
        raise NotExpressible(f"the fault {fault['kind']} has no counterpart") from None
    return make(str(arguments["service"]), fault)


def _http(program: str, fault: Mapping[str, Any]) -> Fault:
    labels = _labels(program)
    delay = int(fault.get("latency_ms", 0))
    if cluster.is_one_replica(program):
        text = "everything that the pod says to order is late, health checks are not; it acts beside a proxy, too"
        return _delay(labels["app"], "order", {"latency": f"{delay}ms"}, "one", text)
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
    return _http_chaos(http)


def _http_chaos(http: HttpFault, differs: str = "") -> Fault:
    labels = {"app": http.service} | ({"version": http.version} if http.version else {})
    spec: dict[str, Any] = {
        **cluster.mode(http.service, http.share),
        "selector": cluster.selector(labels),
        # Only an answer has a status to change.
        "target": "Response" if http.status else "Request",
        "port": cluster.PORT,
        "path": f"{http.path}*",
    }
    if http.method:
        spec["method"] = http.method
    if http.cut:
        spec["abort"] = True
    if http.delay_ms:
        spec["delay"] = f"{http.delay_ms}ms"
    if http.status:
        spec["replace"] = {"code": http.status}
    notes = [differs] if differs else []
    if http.share < 1 and not differs:
        notes.append(f"{http.share:.0%} of the calls become a share of the pods: {_pods(spec)}")
    if http.status:
        notes.append("the call is carried out and its answer replaced")
    notes.append("connections that were open before are not touched")
    return Fault("HTTPChaos", spec, "; ".join(notes), http=http)


def _database(program: str, fault: Mapping[str, Any]) -> Fault:
    if fault.get("error") == "locked":
        raise NotExpressible("a lock is the database's own: `LOCK TABLE` in a session of psql does it")
    service = _labels(program)["app"]
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
    caller, called = _labels(program), _labels(str(fault["to"]))
    if "on_ms" in fault:
        spec = {
            "action": "error",
            "mode": "all",
            "selector": cluster.selector(caller),
            "containerNames": [cluster.CONTAINER],
            "patterns": [f"{called['app']}*"],
        }
        return Fault(
            "DNSChaos",
            spec,
            "nothing here comes and goes within a second: the name is not found all the time, and only new connections "
            "ask for it. Needs the component dns-drill",
        )
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
        "selector": cluster.selector(_labels(program)),
        "containerNames": [cluster.CONTAINER],
        "stressors": stressors,
    }
    return Fault("StressChaos", spec, differs)


def _clock(program: str, fault: Mapping[str, Any]) -> Fault:
    spec = {
        "mode": "all",
        "selector": cluster.selector(_labels(program)),
        "containerNames": [cluster.CONTAINER],
        "timeOffset": f"{int(fault['offset_seconds'])}s",
        "clockIds": ["CLOCK_REALTIME"],
    }
    return Fault("TimeChaos", spec)


def _loop(_program: str, _fault: Mapping[str, Any]) -> Fault:
    raise NotExpressible("a blocked event loop is inside the process; the service's own fault layer does it")


def _pool(_program: str, _fault: Mapping[str, Any]) -> Fault:
    raise NotExpressible("the connections are held inside the process; the service's own fault layer does it")


def _delay(called: str, caller: str, delay: Mapping[str, str], mode: str, differs: str) -> Fault:
    # At the side that is called: there the other end is a pod's address, not the Service's, which no rule would match.
    spec = {
        "action": "delay",
        "mode": mode,
        "selector": cluster.selector({"app": called}),
        "direction": "to",
        "target": {"mode": "all", "selector": cluster.selector({"app": caller})},
        "delay": delay,
    }
    return Fault("NetworkChaos", spec, differs)


def _labels(program: str) -> dict[str, str]:
    found = cluster.labels(program)
    if found is None:
        raise NotExpressible(f"{program} has no pods in the namespace")
    return found


def _pods(spec: Mapping[str, Any]) -> str:
    return "one" if spec["mode"] == "one" else f"{spec['value']} %"


_BY_ACTION: Mapping[str, Callable[[Mapping[str, Any]], Fault]] = {
    "none": _nothing,
    "poison": _poison,
    "surge": _surge,
    "stop": _stop,
    "kill": _kill,
    "pause": _pause,
    "in_card_network": _card_network,
    "in_service": _in_service,
}

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
