"""The replicas: who they are, whether they are well, and what operators see in them."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from services.control_room.page.sources.names import Names, Replica
from services.control_room.page.web import Away, Web

_ROUNDS = 3
_LEVERS = frozenset({"order", "payment", "inventory"})
"""Services in which faults can be begun."""
_NO_FAULTS = "HTTP 404"
_FAULTS_OFF = "The replicas take no faults here (FAULT_INJECTION is off)"


class Replicas:
    """Finds the replicas anew whenever they are asked for; remembers the last list."""

    def __init__(
        self, web: Web, targets_file: Path | None, prometheus_url: str, names: Names | None = None, faults: str = ""
    ) -> None:
        self._web, self._file, self._prometheus = web, targets_file, prometheus_url
        self._names, self._faults_elsewhere = names, faults
        self.known: Sequence[Replica] = ()
        self._said: dict[str, dict[str, Any]] = {}
        self._round = 0

    async def find(self) -> Sequence[Replica]:
        """Everything of ours that should run. Raises `Away`."""
        if self._file is not None:
            self.known = _from_file(await asyncio.to_thread(_read, self._file))
        elif self._names is not None:
            self.known = await self._names.find()
        elif self._prometheus:
            found = await self._web.get(f"{self._prometheus}/api/v1/targets", {"state": "active"})
            self.known = _from_prometheus(found)
        else:
            raise Away("neither a list of replicas nor a Prometheus is configured")
        return self.known

    def of(self, service: str) -> list[Replica]:
        """The replicas of one service, as last found."""
        return [each for each in self.known if each.service == service]

    async def health(self) -> list[dict[str, Any]]:
        """How each of them is, with breakers. Raises `Away`.

        Who has breakers is asked each time, whoever was well lately each third time: that a process is gone may be
        seen a moment later than that a breaker has opened.
        """
        found, self._round = await self.find(), self._round + 1
        asked = [each for each in found if self._round % _ROUNDS == 0 or not self._well(each)]
        said = await asyncio.gather(*(self._health(each) for each in asked))
        known = self._said | {each["name"]: each for each in said}
        self._said = {each.name: known[each.name] for each in found}
        nobody = self._names.nobody() if self._names is not None and self._file is None else []
        return [*self._said.values(), *(_missing(service, hosts) for service, hosts in nobody)]

    async def levers(self) -> dict[str, Any]:
        """Faults that act in each replica, and the pipelines of the order service, replica by replica.

        `refused`: which replicas would not say, with the reason; `faults_off`: where faults begin, if not in them.
        """
        asked = [each for each in self.known if each.service in _LEVERS]
        faults, pipelines = await asyncio.gather(
            asyncio.gather(*(self._faults(each) for each in asked)),
            asyncio.gather(*(self._pipelines(each) for each in self.of("order"))),
        )
        off = bool(faults) and all(each.reason == _NO_FAULTS for each in faults)
        said = [*([] if off else faults), *pipelines]
        return {
            "faults": [fault for listed in faults for fault in listed.value or ()],
            "faults_off": f"{_FAULTS_OFF}: {self._faults_elsewhere}" if off else "",
            "replicas": [{"name": each.name, "service": each.service} for each in asked],
            "pipelines": merged([each.value for each in pipelines if each.value is not None]),
            "refused": sorted({f"{each.replica}: {each.reason}" for each in said if each.reason}),
        }

    def _well(self, replica: Replica) -> bool:
        said = self._said.get(replica.name)
        return said is not None and said["status"] == "ready" and not said.get("breakers")

    async def _health(self, replica: Replica) -> dict[str, Any]:
        shown: dict[str, Any] = {"name": replica.name, "service": replica.service, "status": "ready", "reason": ""}
        try:
            status, body = await self._web.ask("GET", f"{replica.url}/health/ready", seconds=1.0, host=replica.host)
        except Away as away:
            return shown | {"status": "down", "reason": str(away)}
        if not isinstance(body, dict):
            return shown | {"status": "unready", "reason": f"HTTP {status}"}
        down = [name for name, each in body.get("dependencies", {}).items() if each.get("status") != "up"]
        shown["breakers"] = body.get("breakers", {})
        if status != 200:
            return shown | {"status": "unready", "reason": str(body.get("status", f"HTTP {status}"))}
        return shown | ({"status": "limited", "reason": f"{', '.join(down)} down"} if down else {})

    async def _faults(self, replica: Replica) -> "_Said":
        said = await self._admin(replica, "faults")
        if said.value is None:
            return said
        named = {"replica": replica.name, "service": replica.service}
        return said._replace(value=[{**fault, **named} for fault in said.value["faults"]])

    async def _pipelines(self, replica: Replica) -> "_Said":
        return await self._admin(replica, "resilience", {"events": "12"})

    async def _admin(self, replica: Replica, what: str, params: dict[str, str] | None = None) -> "_Said":
        url = f"{replica.url}/admin/{what}"
        try:
            return _Said(replica.name, await self._web.get(url, params, admin=True, host=replica.host))
        except Away as away:
            return _Said(replica.name, None, str(away))


class _Said(NamedTuple):
    replica: str
    value: Any
    reason: str = ""


def merged(views: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The pipelines of several replicas as one list: a layer is on, off, or `mixed`; events newest first."""
    pipelines: dict[str, dict[str, Any]] = {}
    for view in views:
        for item in view["items"]:
            one = pipelines.setdefault(item["name"], {"name": item["name"], "layers": {}, "breaker": {}, "events": []})
            for layer, enabled in item["layers"].items():
                before = one["layers"].setdefault(layer, enabled)
                one["layers"][layer] = enabled if before == enabled else "mixed"
            if item["breaker"]:
                one["breaker"][view["replica"]] = {
                    "name": item["breaker"]["name"],
                    "state": item["breaker"]["state"],
                    "retry_after": item["breaker"]["retry_after"],
                    "failure_rate": item["breaker"]["metrics"].get("failure_rate"),
                }
            one["events"] += [{**event, "replica": view["replica"]} for event in item["events"]]
    for one in pipelines.values():
        one["events"] = sorted(one["events"], key=lambda event: float(event["seconds_ago"]))[:12]
    return list(pipelines.values())


def _missing(service: str, hosts: str) -> dict[str, Any]:
    return {"name": service, "service": service, "status": "down", "reason": f"nobody is called {hosts}"}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Away(f"the list of replicas cannot be read: {error.strerror}") from None


def _from_file(text: bytes) -> list[Replica]:
    try:
        groups = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise Away("the list of replicas is no JSON") from None
    return [
        Replica(group["labels"]["instance"], group["labels"]["service"], f"http://{address}")
        for group in groups
        for address in group["targets"]
    ]


def _from_prometheus(found: Any) -> list[Replica]:
    listed = []
    for target in found["data"]["activeTargets"]:
        labels = target["labels"]
        if "service" in labels and target["scrapeUrl"].endswith("/metrics"):
            listed.append(Replica(labels["instance"], labels["service"], target["scrapeUrl"].removesuffix("/metrics")))
    return listed
