"""A Kubernetes API server with Chaos Mesh, as far as experiments go, in front of ports of this machine.

Real HTTP and WebSockets; the shipped Role is its law. What a pod's port leads to is told by the test.
"""

import base64
import hashlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import yaml
from websocket import ABNF
from websocket._abnf import frame_buffer

from tests.unit.ml.remediation.api_server import NAMESPACE, ROOT, Handler

ROLES = ROOT / "infra/kubernetes/components"
_NS = r"/namespaces/(?P<ns>[^/]+)"
_NAME = r"/(?P<name>[^/]+)"
_KINDS = ("podchaos", "httpchaos", "networkchaos", "stresschaos", "iochaos", "dnschaos", "timechaos", "workflows")
_ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def shipped_rules() -> dict[str, list[dict[str, Any]]]:
    """The rules of the Roles that are applied with the platform, by namespace."""
    files = [ROLES / "chaos/drills.yaml", ROLES / "monitoring/drills.yaml"]
    roles = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in files]
    return {role["metadata"]["namespace"]: role["rules"] for role in roles}


@dataclass
class Platform:
    """What the server holds, and how it misbehaves.

    ports: pod -> where its ports lead, (host, port); a pod without one refuses connections
    interfere: called before each patch, as somebody else who writes at the same time
    """

    sizes: dict[str, int] = field(
        default_factory=lambda: {"order": 2, "payment-v1": 2, "payment-v2": 1, "inventory": 2}
    )
    rules: dict[str, list[dict[str, Any]]] = field(default_factory=shipped_rules)
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)
    secret: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, Any, str]] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)
    exercised: set[tuple[str, str, str]] = field(default_factory=set)
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    images: dict[str, str] = field(default_factory=dict)
    unready: set[str] = field(default_factory=set)
    born: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    version: int = 100
    injects: bool = True
    installed: bool = True
    prometheus: bool = False
    proxies: bool = False
    streams: int = 0
    hang: threading.Event | None = None
    interfere: Callable[["Platform"], None] | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)

    def pods_of(self, workload: str) -> list[str]:
        """Its pods that there are: those that were killed have successors."""
        size = 3 if workload == "nats" else self.sizes[workload]
        every = (f"{workload}-{number}" for number in range(size + self.born.get(workload, 0)))
        return [pod for pod in every if pod not in self.gone][:size]

    def writes(self) -> list[tuple[str, str, Any, str]]:
        return [each for each in self.requests if each[0] != "GET"]

    def put_in(self, spec: dict[str, Any]) -> None:
        """What Chaos Mesh's controller would do to the pods that are named."""
        for pod in spec["selector"].get("pods", {}).get(NAMESPACE, []):
            if spec.get("action") == "pod-kill":
                self.gone.add(pod)
                owner = pod.rpartition("-")[0]
                self.born[owner] = self.born.get(owner, 0) + 1
            elif spec.get("action") == "pod-failure":
                self.images[pod] = "pause"
                self.unready.add(pod)

    def take_back(self, spec: dict[str, Any]) -> None:
        for pod in spec["selector"].get("pods", {}).get(NAMESPACE, []):
            self.images.pop(pod, None)
            self.unready.discard(pod)


class ChaosHandler(Handler):
    """Serves a `Platform`."""

    paths = (
        (rf"/api/v1{_NS}/pods{_NAME}/portforward", "", "pods/portforward"),
        (rf"/api/v1{_NS}/pods", "", "pods"),
        (rf"/api/v1{_NS}/secrets{_NAME}", "", "secrets"),
        (rf"/apis/apps/v1{_NS}/deployments{_NAME}/scale", "apps", "deployments/scale"),
        (rf"/apis/apps/v1{_NS}/deployments", "apps", "deployments"),
        (rf"/apis/apps/v1{_NS}/statefulsets", "apps", "statefulsets"),
        *((rf"/apis/chaos-mesh.org/v1alpha1{_NS}/{kind}(?:{_NAME})?", "chaos-mesh.org", kind) for kind in _KINDS),
    )

    def _allowed(self, namespace: str, group: str, resource: str, verb: str, name: str | None) -> bool:
        wanted = {verb} | ({"create"} if resource == "pods/portforward" else set())  # as servers from 1.35 on
        granted = {
            each
            for rule in self.cluster.rules.get(namespace, [])
            if group in rule["apiGroups"] and resource in rule["resources"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for each in rule["verbs"]
        }  # fmt: skip
        if wanted <= granted:
            self.cluster.exercised |= {(namespace, resource, each) for each in wanted}
            self.namespace = namespace
        return wanted <= granted

    def _serve(self, resource: str, verb: str, name: str | None, body: Any, query: dict[str, list[str]]) -> None:
        if self.cluster.hang is not None:
            self.cluster.hang.wait(30)
            self.close_connection = True
        elif resource == "pods/portforward":
            self._forward(str(name), int(query["ports"][0]))
        else:
            with self.cluster.lock:
                self._of(resource, verb, name, body)

    def _of(self, resource: str, verb: str, name: str | None, body: Any) -> None:
        cluster: Platform = self.cluster
        if resource == "pods":
            self._send(200, {"items": self._pods()})
        elif resource == "secrets":
            held = {key: base64.b64encode(value.encode()).decode() for key, value in cluster.secret.items()}
            self._send(200, {"kind": "Secret", "data": held})
        elif resource == "deployments":
            self._send(200, {"items": [self._workload(each) for each in cluster.sizes]})
        elif resource == "statefulsets":
            self._send(200, {"items": [self._workload("nats")]})
        elif resource == "deployments/scale":
            self._scaled(str(name), verb, body)
        elif not cluster.installed:
            self._fail(404, "NotFound", "the server could not find the requested resource")
        else:
            self._chaos(resource, verb, name, body)

    def _scaled(self, name: str, verb: str, body: Any) -> None:
        cluster: Platform = self.cluster
        if name not in cluster.sizes:
            self._fail(404, "NotFound", f'deployments.apps "{name}" not found')
            return
        if verb == "patch":
            if self.headers["content-type"] != "application/merge-patch+json":
                self._fail(415, "UnsupportedMediaType", self.headers["content-type"])
                return
            if cluster.interfere:
                cluster.interfere(cluster)
            if body["metadata"]["resourceVersion"] != str(cluster.version):
                self._fail(409, "Conflict", "the object has been modified")
                return
            cluster.sizes[name] = body["spec"]["replicas"]
            cluster.version += 1
        size = {"replicas": cluster.sizes[name]} if cluster.sizes[name] else {}
        self._send(
            200, {"kind": "Scale", "metadata": {"name": name, "resourceVersion": str(cluster.version)}, "spec": size}
        )

    def _chaos(self, resource: str, verb: str, name: str | None, body: Any) -> None:
        cluster: Platform = self.cluster
        if verb == "list":
            self._send(200, {"items": [each for (kind, _), each in cluster.objects.items() if kind == resource]})
        elif verb == "create":
            made = {**body, "status": {"conditions": [{"type": "AllInjected", "status": str(cluster.injects)}]}}
            cluster.objects[resource, body["metadata"]["name"]] = made
            if cluster.injects:
                cluster.put_in(body["spec"])
            self._send(201, made)
        elif (resource, str(name)) not in cluster.objects:
            self._fail(404, "NotFound", f'{resource} "{name}" not found')
        elif verb == "delete":
            cluster.take_back(cluster.objects.pop((resource, str(name)))["spec"])
            self._send(200, {"kind": "Status", "status": "Success"})
        else:
            self._send(200, cluster.objects[resource, str(name)])

    def _workload(self, name: str) -> dict[str, Any]:
        service = name.partition("-v")[0]
        labels = {"app": service, "app.kubernetes.io/component": "broker" if name == "nats" else "service"}
        size = 3 if name == "nats" else self.cluster.sizes[name]
        return {
            "metadata": {"name": name, "labels": labels, "generation": 1},
            "spec": {
                "replicas": size,
                "selector": {"matchLabels": {"workload": name}},
                "template": {"spec": {"containers": [{"name": "service"}]}},
            },
            "status": {"observedGeneration": 1, "updatedReplicas": size},
        }

    def _pods(self) -> list[dict[str, Any]]:
        cluster: Platform = self.cluster
        if self.namespace != NAMESPACE:
            return (
                [{"metadata": {"name": "prometheus-0"}, "status": {"phase": "Running"}}] if cluster.prometheus else []
            )
        return [self._pod(name, owner) for owner in (*cluster.sizes, "nats") for name in cluster.pods_of(owner)]

    def _pod(self, name: str, owner: str) -> dict[str, Any]:
        ready = name not in self.cluster.unready
        containers = [{"name": "service", "image": self.cluster.images.get(name, "holdfast")}]
        if self.cluster.proxies:
            containers.append({"name": "istio-proxy", "image": "proxy"})
        return {
            "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"workload": owner}, "creationTimestamp": "now"},
            "spec": {"containers": containers},
            "status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [
                    {"name": "service", "restartCount": 0, "started": ready, "state": {"running": {}}}
                ],
            },
        }  # fmt: skip

    def _forward(self, pod: str, port: int) -> None:
        """`v4.channel.k8s.io`: two messages that name the port, then bytes; a refused connection is on channel 1."""
        self.close_connection = True
        key = self.headers["sec-websocket-key"].encode()
        self.send_response(101)
        self.send_header("upgrade", "websocket")
        self.send_header("connection", "Upgrade")
        accept = hashlib.sha1(key + _ACCEPT, usedforsecurity=False).digest()
        self.send_header("sec-websocket-accept", base64.b64encode(accept).decode())
        self.send_header("sec-websocket-protocol", self.headers["sec-websocket-protocol"])
        self.end_headers()
        for channel in (0, 1):
            self._message(channel, port.to_bytes(2, "little"))
        try:
            with socket.create_connection(self.cluster.ports[pod], timeout=5) as there:
                self.cluster.streams += 1
                self._pump(there)
        except (KeyError, OSError) as error:
            self._message(1, f"failed to forward to {port}: {error}".encode())

    def _pump(self, there: socket.socket) -> None:
        frames = frame_buffer(self.rfile.raw.read, skip_utf8_validation=True)  # type: ignore[union-attr]
        while True:
            for ready in select.select([there, self.connection], [], [], 1.0)[0]:
                if ready is there:
                    data = there.recv(65536)
                    if not data:
                        self.wfile.write(_frame(b"", ABNF.OPCODE_CLOSE))
                        return
                    self._message(0, data)
                else:
                    frame = frames.recv_frame()
                    if frame.opcode == ABNF.OPCODE_CLOSE or not frame.data:
                        return
                    there.sendall(frame.data[1:])

    def _message(self, channel: int, data: bytes) -> None:
        self.wfile.write(_frame(bytes([channel]) + data, ABNF.OPCODE_BINARY))


def _frame(data: bytes, code: int) -> bytes:
    frame = ABNF.create_frame(data, code)
    frame.mask_value = 0  # a server masks nothing
    made: bytes = frame.format()
    return made
