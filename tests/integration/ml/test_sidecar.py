"""The sidecar over its interface, in front of a Prometheus that tells the truth, or does not."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.artefact import Artefact, Manifest
from ml.features.prometheus import Prometheus
from ml.features.signals import NAMES, Scale
from ml.predictor.app import create_app
from ml.predictor.asking import Questions
from ml.predictor.metrics import Counts
from ml.predictor.scorer import Scorer
from ml.predictor.watch import Watch
from tests.integration.ml.made_up import NOW, SCALE, THRESHOLD, MadeUpPrometheus, matrix, points, signals, trained

MINUTE = SCALE.minute


@dataclass
class Sidecar:
    """The application, what it asks, and the time."""

    prometheus: MadeUpPrometheus
    watch: Watch
    http: httpx.AsyncClient
    now: float = NOW

    async def tick(self, minutes_ago: int = 0) -> None:
        self.now = NOW - minutes_ago * MINUTE
        await self.watch.tick(self.now)

    async def predict(self, service: str = "order") -> dict[str, Any]:
        response = await self.http.get(f"/predict/{service}")
        assert response.status_code == 200
        return response.json()

    async def metrics(self) -> dict[str, float]:
        lines = (await self.http.get("/metrics")).text.splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


@asynccontextmanager
async def started(scale: Scale = SCALE) -> AsyncIterator[Sidecar]:
    onnx, written = trained()
    manifest = Manifest.model_validate({**written, "sha256": "ab" * 32})
    prometheus, counts = MadeUpPrometheus(), Counts("ab" * 6)
    async with httpx.AsyncClient(transport=httpx.MockTransport(prometheus)) as client:
        questions = Questions(Prometheus(client, "http://prometheus"), scale)
        scorer = Scorer(Artefact(onnx, manifest))
        watch = Watch(questions, scorer, manifest, scale, counts, clock=lambda: sidecar.now)
        transport = httpx.ASGITransport(create_app(watch, manifest, counts))
        async with httpx.AsyncClient(transport=transport, base_url="http://predictor") as http:
            sidecar = Sidecar(prometheus, watch, http)
            yield sidecar


@pytest.fixture
async def sidecar() -> AsyncIterator[Sidecar]:
    async with started() as running:
        yield running


async def test_a_leak_is_warned_of_and_the_leaking_signal_is_named(sidecar: Sidecar) -> None:
    sidecar.prometheus.tables["payment"] = signals(300, 7, leak="memory", starts=245)
    for minutes_ago in (2, 1, 0):
        await sidecar.tick(minutes_ago)
    found = await sidecar.predict("payment")
    assert found["state"] == "warning"
    assert found["probability"] > THRESHOLD == found["threshold"]
    assert found["reasons"][0]["signal"] == "memory"
    assert found["reasons"][0]["words"].startswith("memory 8")
    assert "a minute, full in" in found["reasons"][0]["words"]
    assert found["horizon_minutes"] == [10, 30]
    assert found["model"] == "ab" * 6
    others = (await sidecar.http.get("/predictions")).json()["predictions"]
    assert {each["service"]: each["state"] for each in others} == {
        "order": "quiet", "payment": "warning", "inventory": "quiet",
    }  # fmt: skip
    told = await sidecar.metrics()
    assert told['failure_probability{service="payment"}'] == pytest.approx(found["probability"])
    assert told['prediction_warning{service="payment"}'] == 1
    assert told["prediction_latency_seconds_count"] == 9


async def test_one_minute_over_the_threshold_is_no_warning(sidecar: Sidecar) -> None:
    sidecar.prometheus.tables["payment"] = signals(300, 7, leak="memory", starts=245)
    await sidecar.tick()
    found = await sidecar.predict("payment")
    assert found["probability"] > THRESHOLD
    assert found["state"] == "quiet"


def away(_name: str, _honest: httpx.Response) -> httpx.Response:
    raise httpx.ConnectError("refused")


def rewritten(change: Callable[[list[list[Any]]], list[list[Any]]]) -> Callable[[str, httpx.Response], httpx.Response]:
    return lambda _name, honest: httpx.Response(200, json=matrix(change(points(honest))))


LIES: dict[str, Callable[[str, httpx.Response], httpx.Response]] = {
    "away": away,
    "failing": lambda *_: httpx.Response(500, text="oops"),
    "no JSON": lambda *_: httpx.Response(200, text="<html>"),
    "an error as JSON": lambda *_: httpx.Response(422, json={"status": "error", "error": "query timed out"}),
    "a shape of its own": lambda *_: httpx.Response(200, json={"status": "success", "data": [1, 2]}),
    "empty": lambda *_: httpx.Response(200, json=matrix()),
    "a series without points": rewritten(lambda _: []),
    "NaN": rewritten(lambda values: [[at, "NaN"] for at, _ in values]),
    "infinite": rewritten(lambda values: [[at, "+Inf"] for at, _ in values]),
    "negative": rewritten(lambda values: [[at, "-0.3"] for at, _ in values]),
    "absurd": rewritten(lambda values: [[at, "1e300"] for at, _ in values]),
    "other moments": rewritten(lambda values: [[at - 86_400, value] for at, value in values]),
    "doubled series": lambda _, honest: httpx.Response(200, json=matrix(points(honest), points(honest))),
    "a gap until now": rewritten(lambda values: values[:-4]),
    "mostly gaps": rewritten(lambda values: values[::5] + values[-3:]),
    "without one essential": lambda name, honest: httpx.Response(200, json=matrix()) if name == "cpu" else honest,
    "only the essential": lambda name, honest: (
        honest if name in ("cpu", "memory", "request_rate") else httpx.Response(500)
    ),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_prometheus_that_lies_makes_the_answer_unknown_and_nothing_else(sidecar: Sidecar, lie: str) -> None:
    sidecar.prometheus.tables["order"] = signals(300, 7, leak="memory", starts=245)
    sidecar.prometheus.lie = LIES[lie]
    for minutes_ago in (4, 3, 2):
        await sidecar.tick(minutes_ago)
        found = await sidecar.predict()
        assert (found["state"], found["probability"], found["reasons"]) == ("unknown", None, [])
        assert found["why"]
        assert "defect" not in found["why"]
    told = await sidecar.metrics()
    assert told['prediction_unknown{service="order"}'] == 1
    assert not [name for name in told if name.startswith(("failure_probability", "prediction_warning"))]
    sidecar.prometheus.lie = None
    for minutes_ago in (1, 0):
        await sidecar.tick(minutes_ago)
    assert (await sidecar.predict())["state"] == "warning"
    assert (await sidecar.metrics())['prediction_unknown{service="order"}'] == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["1", "NaN", "inf", "values", str(NOW)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["values", "metric", "result"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(data=JSON, inside=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_no_answer_of_any_shape_is_a_defect(data: Any, inside: bool) -> None:
    body = {"status": "success", "data": {"result": data} if inside else data}
    async with started() as running:
        running.prometheus.lie = lambda *_: httpx.Response(200, content=json.dumps(body))
        await running.tick()
        found = await running.predict()
        assert found["state"] == "unknown"
        assert "defect" not in found["why"]


async def test_a_prometheus_that_hangs_is_given_up_before_the_minute_ends() -> None:
    async with started(Scale(minute=1.0)) as running:
        running.prometheus.hang = asyncio.Event().wait
        await asyncio.wait_for(running.tick(), 30)
        found = await running.predict()
    assert found["state"] == "unknown"
    assert "no answer in time" in found["why"]


async def test_one_signal_that_fails_is_a_gap_and_is_named(sidecar: Sidecar) -> None:
    sidecar.prometheus.lie = lambda name, honest: httpx.Response(503) if name == "loop_lag" else honest
    await sidecar.tick()
    found = await sidecar.predict()
    assert found["state"] == "quiet"
    assert found["missing"] == ["loop_lag"]


async def test_a_restart_that_resets_everything_is_no_defect(sidecar: Sidecar) -> None:
    table = sidecar.prometheus.tables["order"] = signals(300, 7, leak="memory", starts=200)
    table[-8:] = signals(8, 8)
    table[-8:-6] = np.nan
    await sidecar.tick()
    found = await sidecar.predict()
    assert found["state"] == "quiet"
    assert found["probability"] is not None


async def test_a_prediction_that_is_old_is_unknown(sidecar: Sidecar) -> None:
    assert (await sidecar.predict())["why"] == "no minute has been looked at yet"
    await sidecar.tick()
    assert (await sidecar.predict())["state"] == "quiet"
    sidecar.now += 5 * MINUTE
    found = await sidecar.predict()
    assert (found["state"], found["probability"]) == ("unknown", None)
    assert "300 s old" in found["why"]
    assert 'failure_probability{service="order"}' not in await sidecar.metrics()


async def test_half_an_hour_later_it_is_counted_what_came_true(sidecar: Sidecar) -> None:
    sidecar.prometheus.tables["payment"] = signals(300, 7, leak="memory", starts=195)
    sidecar.prometheus.seen["payment"][270:280] = [0.5, 2.0]
    sidecar.prometheus.seen["inventory"][:] = np.nan
    for minutes_ago in range(52, -1, -1):  # minutes 247 to 299; the breach begins at 270, its warnings from 240 to 259
        await sidecar.tick(minutes_ago)
    told = await sidecar.metrics()
    payment, order = (
        {
            outcome: told[f'prediction_outcomes_total{{outcome="{outcome}",service="{service}"}}']
            for outcome in ("true_positive", "false_positive", "true_negative", "false_negative")
        }
        for service in ("payment", "order")
    )
    assert payment["true_positive"] >= 10
    assert payment["true_positive"] + payment["false_negative"] == 13  # 247 to 259
    assert (payment["false_positive"], payment["true_negative"]) == (0, 0)
    assert told['prediction_unjudged_total{service="payment"}'] == 3  # 260 to 262: too close to it
    assert (order["true_negative"], order["false_negative"]) == (16, 0)
    assert told['prediction_unjudged_total{service="inventory"}'] == 16


async def test_a_defect_in_one_service_leaves_the_others_watched(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch
) -> None:
    predict = sidecar.watch._predict

    def broken(service: str, *rest: Any) -> Any:
        if service == "payment":
            raise ZeroDivisionError
        return predict(service, *rest)

    monkeypatch.setattr(sidecar.watch, "_predict", broken)
    await sidecar.tick()
    found = await sidecar.predict("payment")
    assert (found["state"], found["why"]) == ("unknown", "a defect of the predictor: ZeroDivisionError")
    assert (await sidecar.predict("order"))["state"] == "quiet"


async def test_the_loop_looks_at_each_minute_once_and_ends_with_the_application() -> None:
    looked: list[float] = []
    async with started() as running:
        enough = asyncio.Event()

        async def sleep(seconds: float) -> None:
            running.now += seconds + 0.5
            if len(looked) == 4:
                enough.set()
                await asyncio.Event().wait()

        tick = running.watch.tick

        async def counted(at: float) -> None:
            looked.append(at)
            await tick(at)

        running.now = NOW - 5 * MINUTE + 17
        running.watch.tick, running.watch._sleep = counted, sleep
        app = running.http._transport.app
        async with app.router.lifespan_context(app):
            assert (await running.http.get("/health/ready")).status_code == 503
            await asyncio.wait_for(enough.wait(), 30)
            assert (await running.http.get("/health/ready")).status_code == 200
            assert (await running.http.get("/health/live")).status_code == 200
        assert app.state.loop.cancelled()
        assert (await running.http.get("/health/live")).status_code == 503
    assert looked == [NOW - minutes * MINUTE for minutes in (5, 4, 3, 2)]


async def test_an_unknown_service_is_a_problem_that_names_the_known_ones(sidecar: Sidecar) -> None:
    response = await sidecar.http.get("/predict/billing")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")
    assert response.json()["detail"] == "watched are: order, payment, inventory"
    nowhere = await sidecar.http.post("/predictions")
    assert (nowhere.status_code, nowhere.headers["content-type"]) == (405, "application/problem+json")


async def test_the_model_is_described_and_so_is_the_interface(sidecar: Sidecar) -> None:
    model = (await sidecar.http.get("/model")).json()
    assert (model["sha256"], model["threshold"], model["persistence"]) == ("ab" * 32, THRESHOLD, [2, 3])
    assert model["features"] == 9 * len(NAMES) + 3
    assert model["calibration_error"] is None
    described = (await sidecar.http.get("/openapi.json")).json()
    assert set(described["paths"]) == {"/predict/{service}", "/predictions", "/model", "/health/live", "/health/ready"}
    assert "application/problem+json" in described["paths"]["/predict/{service}"]["get"]["responses"]["404"]["content"]
