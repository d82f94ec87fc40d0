"""What runs in the namespace: workloads and their pods, and the names that experiments know them by."""

import itertools
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_SERVICE, _PROXY = "service", "istio-proxy"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment or a StatefulSet. `service` is order, payment or inventory, or empty for what is no service."""

    name: str
    wanted: int
    selector: Mapping[str, str]
    container: str
    service: str
    settled: bool

    @property
    def program(self) -> str:
        """Its name in experiments: that of the local stack."""
        return self.name.removesuffix("-v1") if self.service else self.name

    def owns(self, labels: Mapping[str, str]) -> bool:
        """A pod with these labels is one of its own."""
        return bool(self.selector) and self.selector.items() <= labels.items()


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. `lives`: its container runs; `served`: and has passed its startup probe, since it last began."""

    name: str
    uid: str
    workload: str
    image: str
    restarts: int
    lives: bool
    served: bool
    ready: bool
    leaving: bool
    proxied: bool
    reason: str

    @property
    def number(self) -> int:
        """Another one after each start, as a process id is."""
        return zlib.crc32(f"{self.uid}/{self.restarts}/{self.image}".encode()) or 1


def workload(found: Mapping[str, Any]) -> Workload:
    """Of a Deployment or StatefulSet as the API server shows it."""
    spec, status, labels = found["spec"], found.get("status", {}), found["metadata"].get("labels", {})
    is_service = labels.get("app.kubernetes.io/component") == _SERVICE
    wanted = int(spec.get("replicas", 1))
    return Workload(
        found["metadata"]["name"],
        wanted,
        spec["selector"].get("matchLabels", {}),
        spec["template"]["spec"]["containers"][0]["name"],
        str(labels.get("app", "")) if is_service else "",
        int(status.get("observedGeneration", 0)) >= int(found["metadata"].get("generation", 0))
        and int(status.get("updatedReplicas", 0)) >= wanted,
    )


def pod(found: Mapping[str, Any], owner: Workload) -> Pod:
    """Of a pod as the API server shows it. A pod that has just been made has no container yet."""
    spec, status, metadata = found["spec"], found.get("status", {}), found["metadata"]
    none: Mapping[str, Any] = {}
    seen = next((each for each in status.get("containerStatuses", []) if each["name"] == owner.container), none)
    named = itertools.chain(spec["containers"], spec.get("initContainers", []))
    state = seen.get("state", {})
    waits = state.get("waiting") or state.get("terminated") or {}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        workload=owner.name,
        image=next((each.get("image", "") for each in spec["containers"] if each["name"] == owner.container), ""),
        restarts=int(seen.get("restartCount", 0)),
        lives="running" in state,
        served=bool(seen.get("started")),
        ready=any(each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions", [])),
        leaving="deletionTimestamp" in metadata,
        proxied=any(each["name"] == _PROXY for each in named),
        reason=str(waits.get("reason") or status.get("phase") or "unknown"),
    )


@dataclass(slots=True)
class Names:
    """The names of pods: `payment-1`, `payment-v2-1`, `inventory-2`, as the local stack's processes have them.

    A pod keeps its name; one that takes the place of another gets the place's name, as a process that was started
    again does. What is no service has one name for all its pods.
    """

    places: dict[str, dict[int, str]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)

    def give(self, owner: Workload, pods: Sequence[Pod]) -> dict[str, Pod | None]:
        """Name the pods of a service's workload, the oldest first; `None` is a place whose pod is gone."""
        places = self.places.setdefault(owner.name, {})
        here = {each.uid: each for each in pods if not each.leaving}
        taken = {uid for uid in places.values() if uid in here}
        for uid in (each for each in here if each not in taken):
            vacant = (number for number in itertools.count(1) if places.get(number) not in here)
            places[next(vacant)] = uid
        for number in sorted(places, reverse=True):
            if number > owner.wanted and places[number] not in here:
                del places[number]
        return {f"{owner.program}-{number}": here.get(uid) for number, uid in sorted(places.items())}

    def state(self, each: Pod) -> str:
        """running, starting or down. A pod whose image was swapped (pod-failure) runs, but nothing of ours in it."""
        if each.leaving or each.image != self.images.get(each.uid, each.image):
            return "down"
        if not each.lives:
            return "down" if each.restarts else "starting"
        return "running" if each.served else "starting"

    def remember(self, here: Iterable[Pod]) -> None:
        """Keep what is known of pods that there are, and of new ones their image."""
        self.images = {each.uid: self.images.get(each.uid, each.image) for each in here}
