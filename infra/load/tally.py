"""Counts what came of the orders, in bounded memory."""

import json
import math
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from infra.load.customer import Answer

# Neighbouring buckets differ by this factor: a percentile is right to two percent.
_STEP = math.log(1.02)
_SMALLEST = 1e-5


class Latencies:
    """A histogram of seconds with logarithmic buckets."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one."""
        self._buckets[math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _STEP)] += 1
        self.count += 1
        self.longest = max(self.longest, seconds)

    def percentile(self, share: float) -> float:
        """Seconds that this share of all stayed within; 0 when nothing was counted."""
        wanted = math.ceil(share * self.count)
        passed = 0
        for bucket in sorted(self._buckets):
            passed += self._buckets[bucket]
            if passed >= wanted:
                return min(self.longest, _SMALLEST * math.exp(bucket * _STEP))
        return 0.0


class Tally:
    """What has come of the orders so far.

    Args:
        answers: gets one JSON line for each answer, for the auditor.
        events: gets one JSON line when an order is sent and one when it has ended, answered or not, at once: for who
            judges the platform while the load runs.
    """

    def __init__(
        self,
        answers: TextIO | None = None,
        events: TextIO | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._answers = answers
        self._events = events
        self._now = now
        self.started = 0
        self.held_back = 0
        self.attempts = 0
        self.outcomes: Counter[tuple[int, str]] = Counter()
        self.latencies: dict[int, Latencies] = {}
        self.all = Latencies()

    @property
    def done(self) -> int:
        """Orders that ended, answered or not."""
        return self.outcomes.total()

    @property
    def in_flight(self) -> int:
        """Orders under way."""
        return self.started - self.done

    def sent(self, key: str) -> None:
        """An order is on its way."""
        self.started += 1
        self._tell({"event": "sent", "key": key})

    def not_sent(self) -> None:
        """An order arrived when as many as allowed were under way."""
        self.held_back += 1
        self._tell({"event": "not_sent"})

    def answered(self, key: str, answer: Answer, seconds: float) -> None:
        """An order ended, so many seconds after its arrival."""
        self.outcomes[answer.status, answer.meaning] += 1
        self.attempts += answer.attempts
        self.all.add(seconds)
        self.latencies.setdefault(answer.status, Latencies()).add(seconds)
        self._tell(
            {"event": "ended", "key": key, "status": answer.status, "meaning": answer.meaning}
            | {"attempts": answer.attempts, "seconds": round(seconds, 6)}
        )
        if self._answers is not None and answer.status:
            line = {
                "id": answer.order_id or None,
                "status": answer.status,
                "state": answer.state or answer.meaning,
                "time": self._now().isoformat(),
                "idempotency_key": key,
            }
            self._answers.write(json.dumps(line) + "\n")

    def _tell(self, event: dict[str, Any]) -> None:
        if self._events is not None:
            self._events.write(json.dumps({"at": self._now().timestamp()} | event) + "\n")

    def summary(self, elapsed: float) -> dict[str, Any]:
        """Everything as JSON; latencies in milliseconds."""
        return {
            "elapsed_seconds": round(elapsed, 3),
            "orders": self.started,
            "not_sent": self.held_back,
            "unfinished": self.in_flight,
            "attempts": self.attempts,
            "orders_per_second": round(self.done / elapsed, 2) if elapsed else 0.0,
            "outcomes": [
                {"status": status, "meaning": meaning, "count": count}
                for (status, meaning), count in sorted(self.outcomes.items())
            ],
            "latency_ms": {"all": _percentiles(self.all)}
            | {str(status): _percentiles(latencies) for status, latencies in sorted(self.latencies.items())},
        }


def _percentiles(latencies: Latencies) -> dict[str, float]:
    found = {f"p{share}": latencies.percentile(share / 100) for share in (50, 90, 99)}
    return {name: round(seconds * 1000, 1) for name, seconds in (found | {"max": latencies.longest}).items()}
