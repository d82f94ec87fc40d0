"""A Kubernetes API server as far as the actuator goes: real HTTP, versions, and the shipped Role as its law.

What experiments ask of one is in `tests/unit/chaos/api_server.py`, on top of this.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

ROOT = Path(__file__).parents[4]
ROLE = ROOT / "infra/kubernetes/components/prediction/actuator.yaml"
NAMESPACE = "holdfast"

_PATHS = (
    (r"/apis/apps/v1/namespaces/(?P<ns>[^/]+)/deployments/(?P<name>[^/]+)/scale", "apps", "deployments/scale"),
    (r"/apis/apps/v1/namespaces/(?P<ns>[^/]+)/deployments/(?P<name>[^/]+)", "apps", "deployments"),
    (r"/api/v1/namespaces/(?P<ns>[^/]+)/pods/(?P<name>[^/]+)/eviction", "", "pods/eviction"),
    (r"/api/v1/namespaces/(?P<ns>[^/]+)/pods", "", "pods"),
)
_VERBS = {"GET": "get", "PATCH": "patch", "POST": "create", "PUT": "update", "DELETE": "delete"}


def shipped_rules() -> list[dict[str, Any]]:
    """The rules of the Role that is applied with the platform."""
    (role,) = (each for each in yaml.safe_load_all(ROLE.read_text()) if each["kind"] == "Role")
    rules: list[dict[str, Any]] = role["rules"]
    return rules


@dataclass
class Cluster:
    """What the server holds, and how it misbehaves.

    interfere: called before each patch, as somebody else who writes at the same time
    budget:    evictions that a disruption budget still refuses
    """

    replicas: dict[str, int] = field(default_factory=lambda: {"order": 2, "payment-v1": 2, "inventory": 3})
    version: int = 100
    rules: list[dict[str, Any]] = field(default_factory=shipped_rules)
    requests: list[tuple[str, str, Any, str]] = field(default_factory=list)
    used: set[tuple[str, str]] = field(default_factory=set)
    evicted: list[str] = field(default_factory=list)
    unready: int = 0
    successors: bool = True
    budget: int = 0
    born: int = 0
    pods: dict[str, list[str]] = field(default_factory=dict)
    interfere: Any = None
    hang: threading.Event | None = None
    hang_on: str = "PATCH"
    apply_before_hanging: bool = False

    def pods_of(self, name: str) -> list[str]:
        """Names of its pods; each name is also the pod's uid."""
        if name not in self.pods:
            self.pods[name] = [f"{name}-{number}" for number in range(self.replicas[name])]
        return self.pods[name]

    def ready(self, name: str) -> int:
        return len(self.pods_of(name)) - self.unready

    def writes(self) -> list[tuple[str, str, Any, str]]:
        return [each for each in self.requests if each[0] != "GET"]


class Handler(BaseHTTPRequestHandler):
    """Asks the Role, then serves. `paths`: pattern, API group and resource of what there is."""

    cluster: Any
    paths: tuple[tuple[str, str, str], ...] = _PATHS
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PATCH = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
        """Not on stderr."""

    def _answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        url = urlsplit(self.path)
        self.cluster.requests.append((self.command, url.path, body, self.headers.get("content-type", "")))
        for pattern, group, resource in self.paths:
            match = re.fullmatch(pattern, url.path)
            if match:
                name = match.groupdict().get("name", "")
                verb = "list" if self.command == "GET" and not name else _VERBS[self.command]
                if not self._allowed(match["ns"], group, resource, verb, name):
                    self._fail(403, "Forbidden", f"{resource} is forbidden: cannot {verb} {name}")
                    return
                self.cluster.used.add((resource, verb))
                self._serve(resource, verb, name, body, parse_qs(url.query))
                return
        self._fail(404, "NotFound", f"no such path: {url.path}")

    def _allowed(self, namespace: str, group: str, resource: str, verb: str, name: str) -> bool:
        return namespace == NAMESPACE and any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and ("resourceNames" not in rule or name in rule["resourceNames"])
            for rule in self.cluster.rules
        )

    def _serve(self, resource: str, verb: str, name: str, body: Any, query: dict[str, list[str]]) -> None:
        cluster = self.cluster
        owner = name.rpartition("-")[0] if resource == "pods/eviction" else name
        if resource != "pods" and owner not in cluster.replicas:
            self._fail(404, "NotFound", f'deployments.apps "{name}" not found')
        elif resource == "pods/eviction":
            self._evict(owner, name, body)
        elif resource == "pods":
            self._send(200, self._pod_list(query["labelSelector"][0]))
        elif verb == "patch":
            self._patch(name, body)
        elif self._hung("GET"):
            return
        else:
            self._send(200, self._scale(name) if resource.endswith("scale") else self._deployment(name))

    def _patch(self, name: str, body: Any) -> None:
        cluster = self.cluster
        if self.headers["content-type"] != "application/merge-patch+json":
            self._fail(415, "UnsupportedMediaType", self.headers["content-type"])
            return
        if cluster.interfere:
            cluster.interfere(cluster)
        told = body.get("metadata", {}).get("resourceVersion")
        if told is not None and told != str(cluster.version):
            self._fail(409, "Conflict", "the object has been modified; please apply your changes to the latest version")
            return
        if self.cluster.hang and not cluster.apply_before_hanging:
            self._hung("PATCH")
            return
        cluster.replicas[name] = body["spec"]["replicas"]
        cluster.version += 1
        if not self._hung("PATCH"):
            self._send(200, self._scale(name))

    def _evict(self, owner: str, name: str, body: Any) -> None:
        cluster = self.cluster
        pods = cluster.pods_of(owner)
        if body["deleteOptions"]["preconditions"]["uid"] not in pods:
            self._fail(409, "Conflict", "the UID in the precondition does not match")
        elif cluster.budget:
            cluster.budget -= 1
            self._fail(429, "TooManyRequests", "Cannot evict pod as it would violate the pod's disruption budget.")
        else:
            pods.remove(name)
            cluster.evicted.append(name)
            if cluster.successors:
                cluster.born += 1
                pods.append(f"{owner}-s{cluster.born}")
            self._send(201, {"kind": "Status", "apiVersion": "v1", "status": "Success"})

    def _hung(self, command: str) -> bool:
        cluster = self.cluster
        if cluster.hang is None or cluster.hang_on != command:
            return False
        cluster.hang.wait(30)
        self.close_connection = True
        return True

    def _scale(self, name: str) -> dict[str, Any]:
        return {
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": self._metadata(name),
            "spec": {"replicas": self.cluster.replicas[name]}, "status": {"replicas": self.cluster.replicas[name]},
        }  # fmt: skip

    def _deployment(self, name: str) -> dict[str, Any]:
        labels = {"deployment": name}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "service", "image": "x"}]}}
        return {
            "kind": "Deployment", "apiVersion": "apps/v1", "metadata": self._metadata(name),
            "spec": {
                "replicas": self.cluster.replicas[name], "selector": {"matchLabels": labels}, "template": template,
            },
            "status": {"readyReplicas": self.cluster.ready(name)},
        }  # fmt: skip

    def _pod_list(self, selector: str) -> dict[str, Any]:
        names = self.cluster.pods_of(selector.removeprefix("deployment="))
        items = [
            {
                "metadata": {"name": name, "namespace": NAMESPACE, "uid": name},
                "spec": {"containers": [{"name": "service"}]},
                "status": {"conditions": [{"type": "Ready", "status": "True"}]},
            }
            for name in names
        ]
        return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items}

    def _metadata(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": NAMESPACE, "resourceVersion": str(self.cluster.version)}

    def _fail(self, code: int, reason: str, message: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
        self._send(code, status | {"code": code})

    def _send(self, code: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextmanager
def serving(cluster: Any, handler: type[Handler] = Handler) -> Iterator[str]:
    """The server's address, inside the block."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (handler,), {"cluster": cluster}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        if cluster.hang:
            cluster.hang.set()
        server.shutdown()
        server.server_close()
        thread.join(5)
