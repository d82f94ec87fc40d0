"""What Chaos Mesh does to pods for each experiment, or why it cannot."""

from collections.abc import Callable, Mapping
from typing import Any

from chaos.render import cluster
from chaos.render.fault import Fault, HttpFault, NotExpressible, delayed, http_chaos, labels_of
from chaos.render.service_faults import in_service
from chaos.targets import roles

_ACTIONS = "chaos.actions."
_LINGERS = frozenset({"hold", "lift"})


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
    return fault_by(actions[-1]["func"], actions[-1].get("arguments", {}))


def fault_by(action: str, arguments: Mapping[str, Any]) -> Fault:
    """The fault of one action, by its function's name and arguments.

    Raises:
        NotExpressible: with the reason.
    """
    try:
        make = _BY_ACTION[action]
    except KeyError:
        raise NotExpressible(f"the action {action} has no counterpart") from None
    return make(arguments)


def _nothing(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("nothing is broken: in the week's workflows the gate alone watches for that long")


def _poison(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("a message is no fault of the infrastructure; Chaos Mesh has no broker to send it to")


def _surge(_arguments: Mapping[str, Any]) -> Fault:
    raise NotExpressible("it is load, and Chaos Mesh makes none: run the load generator against the edge")


def _stop(arguments: Mapping[str, Any]) -> Fault:
    programs = [each for name in arguments["programs"] for each in roles.LOCAL.get(name, (name,))]
    found = [(program, cluster.labels(program)) for program in programs]
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
        "selector": cluster.selector(labels_of(program)),
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
            "selector": cluster.selector(labels_of(program)),
            "direction": "to",
            "loss": {"loss": "100"},
        },
        "no signal stops a pod's process: everything that it says is lost instead, so new connections hang, too",
    )


def _card_network(arguments: Mapping[str, Any]) -> Fault:
    behaviour = arguments["behaviour"]
    if {*behaviour} != {"latency_median_ms", "latency_p99_ms"}:
        raise NotExpressible("the card network is inside payment, and only its latency can be put in from outside")
    median, p99 = int(behaviour["latency_median_ms"]), int(behaviour["latency_p99_ms"])
    delay = {"latency": f"{median}ms", "jitter": f"{p99 - median}ms", "correlation": "50"}
    return delayed(
        "payment", "order", delay, "all", "the card network is inside payment: what payment says to order is late"
    )


def _in_mesh(arguments: Mapping[str, Any]) -> Fault:
    fault = arguments["fault"]
    shares = {float(fault[each]) / 100 for each in ("abort_percent", "delay_percent") if fault.get(each)}
    if len(shares) != 1:
        raise NotExpressible("a delay and a status for different shares of the calls are two faults")
    return http_chaos(
        HttpFault(
            str(arguments["service"]),
            str(fault["path"]),
            delay_ms=int(fault.get("delay_ms", 0)),
            status=int(fault.get("abort_status", 0)),
            share=shares.pop(),
            by_a_proxy=True,
        )
    )


def _in_service(arguments: Mapping[str, Any]) -> Fault:
    return in_service(str(arguments["service"]), arguments["fault"])


def _full_disk(arguments: Mapping[str, Any]) -> Fault:
    return in_service(str(arguments["service"]), {"kind": "database", "statements": "write", "error": "full"})


_BY_ACTION: Mapping[str, Callable[[Mapping[str, Any]], Fault]] = {
    "none": _nothing,
    "poison": _poison,
    "surge": _surge,
    "stop": _stop,
    "kill": _kill,
    "pause": _pause,
    "in_card_network": _card_network,
    "in_service": _in_service,
    "full_disk": _full_disk,
    "in_mesh": _in_mesh,
}
