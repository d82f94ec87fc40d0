"""What the messaging of one service shows to Prometheus."""

from dataclasses import dataclass
from typing import Self
from weakref import WeakKeyDictionary

from prometheus_client import CollectorRegistry, Counter, Gauge


@dataclass(frozen=True, slots=True)
class Metrics:
    """Made once for a registry, however many workers share it."""

    messages: Counter
    outbox_messages: Gauge
    outbox_oldest_seconds: Gauge

    @classmethod
    def of(cls, registry: CollectorRegistry | None) -> Self:
        """The metrics in `registry`; None gives some that nobody collects."""
        key = registry if registry is not None else CollectorRegistry()
        known = _made.get(key)
        if known is None:
            known = _made[key] = cls(
                Counter(
                    "messages_total",
                    "Messages settled by a worker: acknowledged, sent back for another delivery, or dead",
                    ["subject", "outcome"],
                    registry=key,
                ),
                Gauge("outbox_messages", "Messages that wait in the outbox", registry=key),
                Gauge("outbox_oldest_seconds", "Age of the oldest message in the outbox", registry=key),
            )
        return known  # type: ignore[return-value]


_made: "WeakKeyDictionary[CollectorRegistry, Metrics]" = WeakKeyDictionary()
