"""A fault as Chaos Mesh is told of it, and the two forms that several experiments share."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chaos.render import cluster


class NotExpressible(Exception):
    """Chaos Mesh has nothing that does the same; the message is the reason."""


@dataclass(frozen=True, slots=True)
class HttpFault:
    """A fault of HTTP answers, which a proxy can make, too. `share` of the calls; a status of 0 is none.

    `by_a_proxy`: so it is in the local stack, too.
    """

    service: str
    path: str
    method: str = ""
    version: str = ""
    delay_ms: int = 0
    status: int = 0
    cut: bool = False
    share: float = 1.0
    by_a_proxy: bool = False


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


def http_chaos(http: HttpFault) -> Fault:
    """An HTTP fault as Chaos Mesh has it, for pods without a proxy."""
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
    notes = [f"instead of {http.share * 100:.0f} % of the calls, all of {_pods(spec)}"] if http.share < 1 else []
    if http.status:
        notes.append("the call is carried out and its answer replaced")
    notes.append("connections that were open before are not touched")
    return Fault("HTTPChaos", spec, "; ".join(notes), http=http)


def delayed(called: str, caller: str, delay: Mapping[str, str], mode: str, differs: str) -> Fault:
    """What the pods of one service say to those of another is late."""
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


def labels_of(program: str) -> dict[str, str]:
    """The labels of a program's pods. Raises `NotExpressible` when it has none here."""
    found = cluster.labels(program)
    if found is None:
        raise NotExpressible(f"{program} has no pods in the namespace")
    return found


def _pods(spec: Mapping[str, Any]) -> str:
    return "one pod" if spec["mode"] == "one" else f"{spec['value']} % of the pods"
