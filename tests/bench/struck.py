"""The same faults on both stacks, and what payment was asked meanwhile. Each has two replicas of payment."""

import json
from collections.abc import Callable
from urllib.request import Request, urlopen

from prometheus_client.parser import text_string_to_metric_families

from infra.local.stack import LocalStack
from tests.bench.peers.stack import TutorialStack

REPLICAS = ("payment-1", "payment-2")
_SECONDS = 120.0
"""The time to live of a fault, longer than any slice."""


class Ours:
    """Faults in a stack of ours, by each replica's own port."""

    def __init__(self, stack: LocalStack) -> None:
        self._stack = stack
        self._headers = {
            "authorization": f"Bearer {stack.secret('operator', 'admin_token')}",
            "content-type": "application/json",
        }

    def slow(self, replica: str, latency_ms: float) -> None:
        """Each charge waits."""
        self._ask("POST", replica, {"latency_ms": latency_ms})

    def fail(self, replica: str, share: float) -> None:
        """So many charges are answered 503."""
        self._ask("POST", replica, {"status": 503, "rate": share})

    def take_away(self) -> None:
        """No replica runs."""
        self._stack.scale("payment", 0)

    def give_back(self) -> None:
        """They run again."""
        self._stack.scale("payment", len(REPLICAS))

    def mend(self) -> None:
        """End every fault."""
        for replica in REPLICAS:
            self._ask("DELETE", replica)

    def charges(self) -> int:
        """How many charges were asked for since the replicas started."""
        return sum(self._count(replica) for replica in REPLICAS)

    def _count(self, replica: str) -> int:
        with urlopen(f"{self._stack.url(replica)}/metrics", timeout=5) as answer:
            families = text_string_to_metric_families(answer.read().decode())
            return int(
                sum(
                    sample.value
                    for family in families
                    for sample in family.samples
                    if sample.name == "http_requests_total" and sample.labels["handler"] == "/process"
                )
            )

    def _ask(self, method: str, replica: str, fault: dict[str, object] | None = None) -> None:
        body = None
        if fault is not None:
            body = json.dumps({"kind": "http", "path": "/process", "seconds": _SECONDS, **fault}).encode()
        request = Request(f"{self._stack.url(replica)}/admin/faults", body, self._headers, method=method)
        urlopen(request, timeout=5).close()


class Tutorial:
    """The same in the tutorial's stack."""

    def __init__(self, stack: TutorialStack) -> None:
        self._stack = stack

    def slow(self, replica: str, latency_ms: float) -> None:
        """Each charge waits."""
        self._stack.fault(replica, latency_ms=latency_ms)

    def fail(self, replica: str, share: float) -> None:
        """So many charges are answered 503."""
        self._stack.fault(replica, error_rate=share)

    def take_away(self) -> None:
        """No replica runs."""
        for replica in REPLICAS:
            self._stack.stop(replica)

    def give_back(self) -> None:
        """They run again."""
        for replica in REPLICAS:
            self._stack.start(replica)

    def mend(self) -> None:
        """End every fault."""
        for replica in REPLICAS:
            self._stack.fault(replica)

    def charges(self) -> int:
        """How many charges were asked for since the replicas started."""
        return sum(self._stack.calls(replica) for replica in REPLICAS)


Struck = Ours | Tutorial
Fault = Callable[[Struck], None]


def all_slow(struck: Struck) -> None:
    """Payment takes two seconds."""
    for replica in REPLICAS:
        struck.slow(replica, 2_000)


def half_fail(struck: Struck) -> None:
    """Every second charge fails."""
    for replica in REPLICAS:
        struck.fail(replica, 0.5)


def one_gray(struck: Struck) -> None:
    """One of the two replicas takes three seconds, and says that it is well."""
    struck.slow(REPLICAS[0], 3_000)


def down(struck: Struck) -> None:
    """Payment is away."""
    struck.take_away()
