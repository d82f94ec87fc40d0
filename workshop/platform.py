"""The running platform as labs see it: over the addresses and routes that a learner has, too."""

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import yaml
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from infra.local import envoy, policy
from infra.local.errors import StackError
from infra.local.everywhere import end_everything
from infra.local.operator import operator_environment
from infra.local.settings import PREFIX, SERVICES
from infra.local.stack import LocalStack
from infra.mesh import lesson

GOOD_CARD, DECLINED_CARD = "4242424242424242", "4000000000000002"
_ADMIN_SECONDS, _ORDER_SECONDS, _RELOAD_SECONDS, _LOOK_SECONDS = 15.0, 30.0, 20.0, 0.1
_PAGES = 30

Counts = dict[str, float]
"""Counters by replica, the start of its process, and series."""


class Trouble(Exception):
    """The platform does not do what a lab needs; the message says what, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An order as its customer saw it; `status` is 0 without an answer, `seconds` until then."""

    status: int
    seconds: float
    body: Mapping[str, Any]
    trace: str = ""


class Platform:
    """One local stack that runs."""

    def __init__(self, stack: LocalStack) -> None:
        self.stack = stack
        self.directory = stack.state.path / "workshop"
        self._client = httpx.Client(
            trust_env=False, timeout=_ADMIN_SECONDS, limits=httpx.Limits(max_keepalive_connections=0)
        )

    def environment(self) -> dict[str, str]:
        """For commands of the tree that are to find this stack."""
        chosen = self.stack.settings.model_dump(mode="json") | {"state_dir": str(self.stack.state.path)}
        told = {f"{PREFIX}{name.upper()}": str(value) for name, value in chosen.items()}
        return os.environ | told | operator_environment(self.stack.settings)

    # -- replicas and their admin routes

    def replicas(self, module: str) -> dict[str, str]:
        """Addresses of running replicas by name; `payment` is both versions."""
        running = self.stack.running_replicas()
        return {
            each.name: self.stack.url(each.name) for each in running if each.service and each.service.module == module
        }

    def replicas_of(self, service: str) -> dict[str, str]:
        """The same of one version: `payment`, `payment-v2`."""
        running = self.stack.running_replicas()
        return {
            each.name: self.stack.url(each.name) for each in running if each.service and each.service.name == service
        }

    def ask(self, url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an admin route's answer. Raises `Trouble` unless it is a success."""
        headers = {"authorization": f"Bearer {self.stack.secret('operator', 'admin_token')}"}
        try:
            answer = self._client.request(method, url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise Trouble(f"{method} {url}{path}: {type(error).__name__}. Is everything up? make status") from error
        if not answer.is_success:
            raise Trouble(f"{method} {url}{path}: HTTP {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def ask_all(self, service: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> list[Any]:
        """The same of every replica of a service."""
        return [self.ask(url, method, path, body) for url in self.replicas(service).values()]

    def pipelines(self, name: str) -> list[Any]:
        """One pipeline of the order service, in every replica."""
        return self.ask_all("order", "GET", f"/admin/resilience/{name}?events=200")

    def switch(self, pipeline: str, **layers: bool) -> None:
        """Turn layers of a pipeline on or off in every replica."""
        self.ask_all("order", "PATCH", f"/admin/resilience/{pipeline}", {"layers": layers})

    def reset_breakers(self) -> None:
        """Close the breaker for payment everywhere, and forget what it has counted."""
        self.ask_all("order", "POST", "/admin/resilience/breakers/payment/reset")

    # -- customers

    def place(self, key: str = "", card: str = GOOD_CARD, headers: Mapping[str, str] | None = None) -> Placed:
        """Place one order at the edge, once."""
        body = {
            "customer": "ada",
            "currency": "EUR",
            "items": [{"sku": "mug-enamel", "quantity": 1}],
            "payment_method": {"type": "card", "number": card},
        }
        sent = {"Idempotency-Key": key or f"workshop-{uuid.uuid4().hex}", **(headers or {})}
        began = time.monotonic()
        try:
            url = f"{self.stack.url('order')}/orders"
            answer = httpx.post(url, json=body, headers=sent, timeout=_ORDER_SECONDS, trust_env=False)
            found = answer.json()
        except (httpx.HTTPError, ValueError):
            return Placed(0, time.monotonic() - began, {})
        return Placed(answer.status_code, time.monotonic() - began, found, answer.headers.get("x-trace-id", ""))

    def place_many(self, count: int, at_once: int) -> list[Placed]:
        """So many orders, so many of them at a time."""
        with ThreadPoolExecutor(at_once) as customers:
            return list(customers.map(lambda _: self.place(), range(count)))

    def orders_since(self, moment: float) -> list[Mapping[str, Any]]:
        """Orders that were made after that moment (Unix seconds), newest first."""
        found: list[Mapping[str, Any]] = []
        query: dict[str, Any] = {"limit": 200}
        for _ in range(_PAGES):
            page = self.get(self.stack.url("order"), "/orders", query)
            young = [each for each in page["items"] if instant(each["created_at"]) >= moment]
            found += young
            if len(young) < len(page["items"]) or not page["next"]:
                break
            query["before"] = page["next"]
        return found

    def get(self, url: str, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The JSON of a public route. Raises `Trouble` unless it is a success."""
        try:
            answer = self._client.get(url + path, params=query)
            answer.raise_for_status()
            return answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise Trouble(f"GET {url}{path}: {error}") from error

    # -- numbers

    def counts(self, service: str, counter: str) -> Counts:
        """A counter's series, of every replica of a service, or of Envoy (`mesh`)."""
        if service == "mesh":
            return self._mesh_counts(counter)
        found: Counts = {}
        for name, url in self.replicas(service).items():
            text = self._client.get(f"{url}/metrics").text
            families = list(text_string_to_metric_families(text))
            started = _single(families, "process_start_time_seconds")
            for sample in _samples(families, counter):
                labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
                found[f"{name}@{started:.3f}|{counter}|,{labels},"] = sample.value
        return found

    def prometheus(self, query: str) -> list[Mapping[str, Any]]:
        """An instant query's result. Raises `Trouble` where there is no Prometheus."""
        url = self.stack.url("prometheus")
        if not url:
            raise Trouble("This stack has no Prometheus: make restart PROMETHEUS=on")
        found = self.get(url, "/api/v1/query", {"query": query})["data"]["result"]
        return list(found)

    # -- the mesh

    @property
    def has_mesh(self) -> bool:
        """Envoy runs."""
        return self.stack.running_program(envoy.PROGRAM)

    def mesh_retries(self, *, on: bool) -> None:
        """Let Envoy repeat charges, or no more."""
        lesson.repeat_charges(envoy.admin_socket(self.stack.state), on=on)

    def mesh_repeats(self) -> bool:
        """Whether it does."""
        return lesson.repeats_charges(envoy.admin_socket(self.stack.state))

    def payment_version(self) -> str:
        """Which version of payment answers a request through the mesh; empty when none does."""
        try:
            answer = self._client.get(f"{self.stack.url('payment')}/test-cards")
        except httpx.HTTPError:
            return ""
        return str(answer.headers.get("x-api-version", "")) if answer.is_success else ""

    def _mesh_counts(self, counter: str) -> Counts:
        text = self._client.get(envoy.stats_url(self.stack.settings)).text if self.has_mesh else ""
        lines = (line.rpartition(" ") for line in text.splitlines() if line.startswith(f"{counter}{{"))
        return {f"envoy|{counter}|{labels}": float(value) for labels, _, value in lines}

    # -- policies

    @property
    def policy(self) -> Path:
        """The learner's own copy of the order service's policies; in force while a lab uses it."""
        return self.directory / "resilience.yaml"

    def use_policy(self, text: str) -> None:
        """Put that text into the learner's copy, and have it in force everywhere. Raises `Trouble` when it is not."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if not self._follow(self.policy, text):
            raise Trouble(f"{self.policy} is not in force after {_RELOAD_SECONDS:.0f} s: make logs SERVICE=order N=20")

    def tidy(self) -> None:
        """Everything as `make up` leaves it: policies, layers, breakers, budgets, replicas, and no fault anywhere."""
        self._end_faults()
        for service in SERVICES:
            wanted = self.stack.settings.replicas(service)
            if len(self.replicas_of(service.name)) != wanted:
                self.stack.scale(service.name, wanted)
        if self.has_mesh:
            self.mesh_retries(on=False)
        self._follow(policy.TREES, policy.TREES.read_text(encoding="utf-8"))
        for replica in self.ask_all("order", "GET", "/admin/resilience?events=0"):
            url = self.stack.url(replica["replica"])
            for pipeline in replica["items"]:
                layers = dict.fromkeys(pipeline["layers"], True)
                self.ask(url, "PATCH", f"/admin/resilience/{pipeline['name']}", {"layers": layers})
                if pipeline["breaker"]:
                    self.ask(url, "POST", f"/admin/resilience/breakers/{pipeline['breaker']['name']}/reset")
            for budget in ("payment", "inventory"):
                self.ask(url, "PATCH", f"/admin/resilience/budgets/{budget}", {"enforced": True})
                self.ask(url, "POST", f"/admin/resilience/budgets/{budget}/refill")

    def _end_faults(self) -> None:
        """On a busy machine a replica may be too late with its answer: once more, then it is told."""
        try:
            end_everything(self.stack)
        except StackError:
            end_everything(self.stack)

    def _follow(self, file: Path, text: str) -> bool:
        """Have replicas read that file with that text; false when they do not take it in time."""
        link = policy.link(self.stack.state)
        same = _read(link.read_text(encoding="utf-8")) == _read(text)
        before = self._applied()
        if file == self.policy:
            file.write_text(text, encoding="utf-8")
        policy.follow(self.stack.state, file)
        # What says the same is no change to them, and they tell of none.
        return same or waited(lambda: all(now > before.get(name, -1) for name, now in self._applied().items()))

    def _applied(self) -> dict[str, int]:
        listed = self.ask_all("order", "GET", "/admin/resilience?events=0")
        return {each["replica"]: each["reloads"]["applied"] for each in listed}


def waited(holds: Callable[[], bool], seconds: float = _RELOAD_SECONDS) -> bool:
    """Whether it holds within so many seconds."""
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def growth(before: Counts, now: Counts, counter: str, labels: Mapping[str, str]) -> float:
    """How much a counter has grown; a process that was not there before begins at 0."""
    wanted = [f",{name}={value}," for name, value in labels.items()]
    return sum(
        max(0.0, value - before.get(series, 0.0))
        for series, value in now.items()
        if f"|{counter}|" in series and all(each in series for each in wanted)
    )


def instant(text: str) -> float:
    """An RFC 3339 time as Unix seconds."""
    return datetime.fromisoformat(text).timestamp()


def _read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return None


def _samples(families: list[Metric], name: str) -> Iterator[Sample]:
    return (sample for family in families for sample in family.samples if sample.name == name)


def _single(families: list[Metric], name: str) -> float:
    return next((sample.value for sample in _samples(families, name)), 0.0)
