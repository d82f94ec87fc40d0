"""Callers that make everything up, and a look at what of it has become a metric."""

import random
import socket
import string
import urllib.request
import uuid
from collections import Counter
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.e2e.customers import order_body

_PATHS = ["/{}", "/orders/{}", "/products/{}", "/reservations/{}/commit", "/status/{}?q={}", "/%00{}"]
_METHODS = ["GET", "POST", "PUT", "DELETE", "PROPFIND", "MKCOL", "PURGE"]

MOST_VALUES = {
    "service": 1,
    "le": 24,
    "handler": 32,
    "method": 8,
    "status": 20,
    "priority": 2,
    "reason": 6,
    "task": 8,
    "name": 12,
    "kind": 16,
    "state": 16,
    "layer": 12,
    "outcome": 16,
    "to": 2,
    "pool": 2,
    "subject": 4,
    "sender": 3,
    "currency": 4,
}
"""How many values a label of one metric may have in one process, whoever calls with whatever."""


@dataclass
class HostileCallers:
    """Calls with made-up words in every place, each word remembered."""

    chooser: random.Random
    words: set[str] = field(default_factory=set)

    def word(self) -> str:
        made = "".join(self.chooser.choices(string.ascii_lowercase, k=12))
        self.words.add(made)
        return made

    def wave(self, url: str) -> None:
        """Requests that no client library would send."""
        host, _, port = url.removeprefix("http://").rpartition(":")
        for _ in range(40):
            path = self.chooser.choice(_PATHS).replace("{}", self.word())
            method = self.chooser.choice([*_METHODS, self.word().upper()])
            lines = [
                f"{method} {path} HTTP/1.1", "host: x", "connection: close", "content-length: 0",
                f"x-priority: {self.word()}", f"authorization: Bearer {self.word()}", f"idempotency-key: {self.word()}",
                f"user-agent: {self.word()}", f"traceparent: 00-{uuid.uuid4().hex}-b7ad6b7169203331-01", "", "",
            ]  # fmt: skip
            with socket.create_connection((host, int(port)), timeout=30) as connection:
                connection.sendall("\r\n".join(lines).encode())
                while connection.recv(65536):
                    pass

    def orders(self, url: str) -> None:
        """Orders for what there is not, and from customers that nobody knows."""
        for _ in range(10):
            for changed, expected in (
                ({"items": [{"sku": self.word(), "quantity": 1}]}, {422}),
                ({"currency": self.word()[:3].upper()}, {422}),
                ({"customer": self.word()}, {201, 202}),
            ):
                headers = {"idempotency-key": f"{self.word()}-{uuid.uuid4().hex}"}
                answer = httpx.post(f"{url}/orders", json=order_body() | changed, headers=headers, timeout=30)
                assert answer.status_code in expected, answer.text


def samples(url: str) -> list[Sample]:
    """Everything that a process shows to Prometheus."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return [sample for family in families for sample in family.samples]


def label_sets(found: list[Sample]) -> set[tuple[tuple[str, str], ...]]:
    """What tells series apart, the bounds of buckets left out."""
    return {tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le")) for sample in found}


def assert_bounded(found: list[Sample], words: set[str]) -> None:
    """No metric has more series or values of a label than it may, and none a made-up word."""
    sizes = Counter(sample.name for sample in found)
    assert max(sizes.values()) < 1_500, sizes.most_common(1)
    values: dict[tuple[str, str], set[str]] = {}
    for sample in found:
        for label, value in sample.labels.items():
            values.setdefault((sample.name, label), set()).add(value)
    assert {label for _, label in values} <= MOST_VALUES.keys(), "a new label needs its bound in MOST_VALUES"
    assert {key: seen for key, seen in values.items() if len(seen) > MOST_VALUES[key[1]]} == {}
    said = {value.lower() for seen in values.values() for value in seen}
    assert not [word for word in words if any(word in value for value in said)]
