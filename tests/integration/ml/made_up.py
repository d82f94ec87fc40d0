"""A made-up platform: its signals as a Prometheus would tell them, and a small signed model that has learned them."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs

import httpx
import numpy as np
import orjson
from nacl.signing import SigningKey

from ml import artefact
from ml.datasets.recording import Series
from ml.datasets.rows import rows
from ml.features.outcomes import seen
from ml.features.signals import NAMES, SERVICES, SIGNALS, Scale
from ml.features.windows import FEATURES, HISTORY
from ml.labels import Breach
from ml.training.__main__ import drift, medians
from ml.training.export import as_onnx
from ml.training.forest import train

KEY = SigningKey(bytes(range(32)))
SCALE = Scale(minute=60.0)
NOW = 1_800_000_000.0
THRESHOLD = 0.5
USUAL = {
    "cpu": 0.3, "memory": 0.4, "latency_p50": 0.02, "latency_p95": 0.1, "latency_p99": 0.2, "error_ratio": 0.001,
    "request_rate": 50.0, "breaker_open": 0.0, "pool": 0.2, "queue_age": 0.0, "loop_lag": 0.002, "in_flight": 4.0,
    "retry_ratio": 0.01, "shed_ratio": 0.0, "restarts": 0.0, "replicas": 2.0,
    "callees_cpu": 0.2, "callees_memory": 0.4, "callees_latency_p95": 0.05, "callees_pool": 0.1,
    "callees_loop_lag": 0.002,
}  # fmt: skip


def signals(minutes: int, seed: int, *, leak: str = "", starts: int = 0, rise: float = 0.008) -> np.ndarray:
    """Noise around what is usual; one signal leaks from a minute on."""
    random = np.random.default_rng(seed)
    table = np.array([USUAL[name] for name in NAMES]) * random.uniform(0.9, 1.1, (minutes, len(NAMES)))
    if leak:
        table[starts:, NAMES.index(leak)] += rise * np.arange(minutes - starts)
    return table


@cache
def trained(seed: int = 1) -> tuple[bytes, dict[str, object]]:
    """ONNX and a manifest of a model that has seen memory and pools leak."""
    listed = []
    for number in range(30):
        leak = ("", "memory", "pool")[number % 3]
        full = 60 + int((1 - USUAL[leak]) / 0.008) if leak else 0
        found = (Breach(full, full + 10),) if leak else ()
        table = signals(180, number, leak=leak, starts=60)
        listed.append(Series(f"run-{number:02}", "order", 0.0, table, found, (("leak", "gradual"),) * len(found)))
    table = rows(listed)
    model, _ = train(listed, seed=seed)
    manifest = {
        "format": artefact.FORMAT, "name": "made up", "created": "2026-01-01T00:00:00+00:00",
        "features": list(FEATURES), "history_minutes": HISTORY,
        "calibration": {"slope": model.platt.slope, "intercept": model.platt.intercept},
        "threshold": THRESHOLD, "persistence": (2, 3), "medians": medians(table.features),
        "drift": drift(table.features), "dataset": {"series": len(listed)}, "metrics": {"made": "up"},
    }  # fmt: skip
    return as_onnx(model, table.features[:200]), manifest


def write_model(directory: Path, seed: int = 1) -> None:
    """The model, and beside it the public half of the key that signed it."""
    onnx, manifest = trained(seed)
    artefact.write(directory, onnx, manifest, KEY)
    (directory / "key.pub").write_text(bytes(KEY.verify_key).hex())


class MadeUpPrometheus:
    """Answers range queries from tables of minutes, the last of them at `NOW`; `lie` answers in its place."""

    def __init__(self, minutes: int = 300) -> None:
        self.minutes = minutes
        self.tables = {service: signals(minutes, 100 + n) for n, service in enumerate(SERVICES)}
        self.seen = {service: np.tile([0.0, 0.1], (minutes, 1)) for service in SERVICES}
        self.lie: Callable[[str, httpx.Response], httpx.Response] | None = None
        self.hang: Callable[[], object] | None = None
        self._known = {
            SCALE.fill(query, service): (service, name)
            for service in SERVICES
            for name, query in {**{each.name: each.query for each in SIGNALS}, **seen(service)}.items()
        }

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer like Prometheus's `query_range`."""
        if self.hang:
            await self.hang()  # type: ignore[misc]
        asked = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        service, name = self._known[asked["query"]]
        honest = httpx.Response(200, json=matrix(self._points(service, name, asked)))
        return self.lie(name, honest) if self.lie else honest

    def _points(self, service: str, name: str, asked: dict[str, str]) -> list[list[object]]:
        table, names = (self.tables, NAMES) if name in NAMES else (self.seen, ("seen_error_ratio", "seen_p99"))
        column = table[service][:, names.index(name)]
        times = np.arange(float(asked["start"]), float(asked["end"]) + 1, float(asked["step"]))
        places = [self.minutes - 1 + round((moment - NOW) / SCALE.minute) for moment in times]
        return [
            [moment, str(column[place])]
            for moment, place in zip(times.tolist(), places, strict=True)
            if 0 <= place < self.minutes and not np.isnan(column[place])
        ]


def matrix(*series: list[list[object]]) -> dict[str, object]:
    """A range query's answer."""
    result = [{"metric": {}, "values": values} for values in series]
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


def points(response: httpx.Response) -> list[list[object]]:
    """The points of an answer's only series."""
    return orjson.loads(response.content)["data"]["result"][0]["values"]
