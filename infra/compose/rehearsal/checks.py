"""What the rehearsal looks at. Each check returns what it saw, or raises `Failed` with what it saw instead."""

import ipaddress
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import httpx

from infra.compose.containers import Container
from infra.compose.engine import EngineError
from infra.compose.stack import ComposeStack
from infra.local import secrets

_ORDER = {
    "customer": "rehearsal",
    "currency": "EUR",
    "items": [{"sku": "mug-enamel", "quantity": 1}],
    "payment_method": {"type": "card", "number": "4242424242424242"},
}
_PUBLISHED = {"envoy", "prometheus", "alertmanager", "page"}
_SETTLED_SECONDS = 90.0
_TARGETS_SECONDS = 45.0
_SHOWN_SECONDS = 60.0
_FROM_THE_PAGE = {"x-control-room": "1"}
_POLL_SECONDS = 0.5

# Without a token, from where the order service is.
_ASK = """
import json, urllib.request, urllib.error
seen = {}
for url in %r:
    request = urllib.request.Request(url, b"{}", {"content-type": "application/json"})
    try:
        seen[url] = urllib.request.urlopen(request, timeout=5).status
    except urllib.error.HTTPError as error:
        seen[url] = error.code
print(json.dumps(seen))
"""
_CONNECT = """
import socket
try:
    socket.create_connection((%r, 9090), timeout=3).close()
    print("connected")
except OSError as error:
    print(f"{type(error).__name__}: {error}")
"""
_WRITE_AS_AUDITOR = """
import asyncio, os, asyncpg
url = open(os.environ["ORDER_DATABASE_URL_FILE"]).read().replace("+asyncpg", "")
async def main():
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET default_transaction_read_only = off")
        await connection.execute("DELETE FROM orders")
    except asyncpg.InsufficientPrivilegeError as error:
        print(error)
asyncio.run(main())
"""


class Failed(Exception):
    """A check did not see what it wants; the message is what it saw."""


class NotYet(Failed):
    """What may be there in a moment."""


class Checks:
    """Checks of one running stack."""

    def __init__(self, stack: ComposeStack, client: httpx.Client) -> None:
        self._stack, self._client = stack, client

    def locked_down(self) -> str:
        """Every container: not root, root file system read-only, no capabilities, no way to new privileges."""
        users = set()
        for container, found in self._inspected():
            host = found["HostConfig"]
            user = self._exec(container, "id", "-u").strip()
            _want(user != "0", f"{container.name} runs as root")
            users.add(user)
            _want(host["ReadonlyRootfs"], f"{container.name} has a writable root")
            _want(host["CapDrop"] == ["ALL"] and not host["CapAdd"], f"{container.name} has capabilities")
            _want("no-new-privileges:true" in host["SecurityOpt"], f"{container.name} may get new privileges")
            try:
                self._exec(container, "touch", "/probe")
            except EngineError as error:
                _want("Read-only file system" in str(error), f"{container.name}: touch /probe: {error}")
            else:
                raise Failed(f"{container.name} could write /probe")
        return f"{len(self._stack.status())} containers, user {', '.join(sorted(users))}; touch /probe refused by each"

    def published(self) -> str:
        """Only the edge and the pages for people publish a port, on the loopback address."""
        seen = {}
        for container in self._stack.status():
            for address in container.published:
                host = address.rpartition(":")[0]
                _want(ipaddress.ip_address(host).is_loopback, f"{container.service} publishes {address}")
                seen[container.service] = address
        _want(set(seen) == _PUBLISHED, f"published: {seen}")
        return ", ".join(f"{name} {address}" for name, address in sorted(seen.items()))

    def no_way_out(self) -> str:
        """Each service is on the internal network only, and cannot reach Prometheus by its address on the other one."""
        networks = {each["Name"]: each["Internal"] for each in self._networks()}
        inside = {name for name, internal in networks.items() if internal}
        addresses = {}
        for container, found in self._inspected():
            attached = found["NetworkSettings"]["Networks"]
            alone = container.service not in _PUBLISHED
            _want(not alone or set(attached) == inside, f"{container.name} is on {sorted(attached)}")
            addresses[container.service] = {name: each["IPAddress"] for name, each in attached.items()}
        for name, address in addresses["prometheus"].items():
            said = self._exec(self._one("order"), "python3", "-c", _CONNECT % (address,)).strip()
            _want((said == "connected") is (name in inside), f"order to Prometheus on {name}: {said}")
        return "on the internal network only; Prometheus answers order there, and not on the network that leads outside"

    def refused_without_token(self) -> str:
        """Payment and inventory refuse a caller without a token, directly and through the mesh."""
        wanted = [
            "http://payment-v1:8080/process",
            "http://payment-v2:8080/refund",
            "http://inventory:8080/reservations",
            "http://envoy:8081/process",
            "http://envoy:8083/reservations",
        ]
        seen = json.loads(self._exec(self._one("order"), "python3", "-c", _ASK % (wanted,)))
        _want(set(seen.values()) == {401}, f"answers: {seen}")
        return f"401 from each of {len(seen)} addresses"

    def auditor_cannot_write(self) -> str:
        """The auditor's role reads and no more."""
        said = self._stack.tool("-c", _WRITE_AS_AUDITOR).strip()
        _want("permission denied" in said, said or "the rows are gone")
        return said

    def order(self, status: int, state: str, tries: int = 5) -> str:
        """Place orders through the edge until one is answered as it should be; returns its id.

        The first calls of cold processes on a busy machine may take longer than an order waits for its payment.
        """
        saw = ""
        for _ in range(tries):
            answer = self._client.post("/orders", json=_ORDER, headers={"Idempotency-Key": str(uuid.uuid4())})
            saw = f"{answer.status_code} {answer.text[:200]}"
            if answer.status_code == status and answer.json().get("state") == state:
                return str(answer.json()["id"])
        raise Failed(f"the last of {tries}: {saw}")

    def settles(self, identity: str) -> str:
        """An order that waited for its payment is confirmed by itself."""
        began = time.monotonic()

        def confirmed() -> str:
            answer = self._client.get(f"/orders/{identity}")
            body = answer.json() if answer.is_success else {}
            now = str(body.get("state"))
            return "" if now == "CONFIRMED" else f"{answer.status_code} {now}"

        _until(confirmed, _SETTLED_SECONDS)
        return f"CONFIRMED, {time.monotonic() - began:.0f} s after payment was healthy again"

    def recovers(self, service: str) -> str:
        """Kill what runs in a service's containers: the engine starts them again, and they are healthy."""
        before = {each.name: each.restarts for each in self._stack.status() if each.service == service}
        began = time.monotonic()
        self._stack.kill(service)

        def trouble() -> str:
            found = [each for each in self._stack.status() if each.service == service]
            return "; ".join(
                each.trouble or f"{each.name} was not started again"
                for each in found
                if each.trouble or each.restarts <= before[each.name]
            )

        _until(trouble, _SETTLED_SECONDS)
        return f"{len(before)} container(s) started again and healthy after {time.monotonic() - began:.0f} s"

    def scraped(self, replicas: int) -> str:
        """Prometheus reaches every replica, and Envoy."""
        address = next(each.published[0] for each in self._stack.status() if each.service == "prometheus")
        query = {"query": 'up{job=~"services|envoy"}'}

        def all_up() -> str:
            answer = self._client.get(f"http://{address}/api/v1/query", params=query)
            results = answer.json()["data"]["result"] if answer.is_success else []
            up = [each["metric"] for each in results if each["value"][1] == "1"]
            labelled = {each.get("service") for each in up} >= {"order", "payment", "inventory"}
            return "" if len(up) == replicas + 1 and labelled else f"{len(up)} of {len(results)} targets up: {results}"

        _until(all_up, _TARGETS_SECONDS)
        return f"{replicas} replicas and Envoy are up in Prometheus"

    def page_guarded(self) -> str:
        """The page answers on loopback, refuses a foreign name, and a lever without a session."""
        foreign = self._page("GET", "/", headers={"Host": "holdfast.example"}).status_code
        lever = self._page("DELETE", "/deeds/faults").status_code
        _want((foreign, lever) == (421, 401), f"a foreign name: {foreign}, a lever: {lever}")
        token = secrets.read(self._stack.state, secrets.OPERATOR, "admin_token")
        answer = self._page("POST", "/session", json={"token": token})
        _want(answer.status_code == 204, f"the operator's token: {answer.status_code} {answer.text[:200]}")
        return "421 for another host name, 401 without a session, logged in with the operator's token"

    def page_replicas(self, replicas: int) -> str:
        """Every replica is well, found by the names of the services, and called by the container's own name."""

        def trouble() -> str:
            listed = self._shown("replicas")
            well = [each for each in listed if each["status"] in ("ready", "limited")]
            breakers = [each for each in listed if each["service"] == "order" and each.get("breakers")]
            names = {each["name"] for each in listed}
            return "" if len(well) == len(names) == replicas and len(breakers) == 2 else f"{listed}"

        _until(trouble, _SHOWN_SECONDS)
        return ", ".join(sorted(each["name"] for each in self._shown("replicas")))

    def page_predictions(self) -> str:
        """A line for each service, and the model that says it."""

        def trouble() -> str:
            told = {each["service"] for each in self._shown("predictions")}
            return "" if told == {"order", "payment", "inventory"} else f"predictions of {sorted(told)}"

        _until(trouble, _SHOWN_SECONDS)
        said = ", ".join(f"{each['service']} {each['state']}" for each in self._shown("predictions"))
        return f"{said}; model {self._shown('model')['name']}"

    def page_approvals(self) -> str:
        """The remediator is asked in the operator's name, and does what it is told."""
        _until(lambda: "" if self._shown("remediation")["mode"] == "approve" else "another mode", _SHOWN_SECONDS)
        for thrown in (True, False):
            told = self._page("PUT", "/deeds/kill-switch", json={"thrown": thrown})
            _want(told.status_code == 200 and told.json()["kill_switch"] is thrown, f"{told.status_code} {told.text}")
        waiting = len(self._shown("remediation")["approvals"])
        return f"mode approve, {waiting} questions, kill switch thrown and taken back"

    def page_commands(self) -> str:
        """Experiments and the auditor are not in its image."""
        parts = self._page("GET", "/view").json()
        said = [parts[name]["away"] for name in ("experiments", "audit")]
        _want(all(each.rpartition(": ")[2].startswith("make ") for each in said), f"{said}")
        return "; ".join(said)

    def _shown(self, part: str) -> Any:
        """A part of the view; what is missing of it counts as trouble that may pass."""
        answer = self._page("GET", "/view")
        told = answer.json().get(part, {"away": "not logged in"}) if answer.status_code == 200 else {"away": "no view"}
        if told["away"]:
            raise NotYet(f"{part}: {told['away']}")
        return told["value"]

    def _page(self, method: str, path: str, **more: Any) -> httpx.Response:
        published = next(each.published[0] for each in self._stack.status() if each.service == "page")
        headers = _FROM_THE_PAGE | more.pop("headers", {})
        return self._client.request(method, f"http://{published}{path}", headers=headers, **more)

    def _inspected(self) -> list[tuple[Container, dict[str, Any]]]:
        listed = self._stack.status()
        return list(zip(listed, self._stack.engine.inspect([each.identity for each in listed]), strict=True))

    def _networks(self) -> list[dict[str, Any]]:
        label = f"label=com.docker.compose.project={self._stack.project}"
        names = self._stack.engine.run("network", "ls", "--quiet", "--filter", label).split()
        found: list[dict[str, Any]] = json.loads(self._stack.engine.run("network", "inspect", *names))
        return found

    def _one(self, service: str) -> Container:
        return next(each for each in self._stack.status() if each.service == service and each.state == "running")

    def _exec(self, container: Container, *words: str) -> str:
        return self._stack.engine.run("exec", container.identity, *words)


def _want(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _until(trouble: Callable[[], str], seconds: float) -> None:
    """Ask until there is no trouble; what cannot be asked for now is trouble too."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            said = trouble()
        except (httpx.HTTPError, NotYet) as error:
            said = str(error) or type(error).__name__
        if not said:
            return
        if time.monotonic() >= deadline:
            raise Failed(f"after {seconds:.0f} s: {said}")
        time.sleep(_POLL_SECONDS)
