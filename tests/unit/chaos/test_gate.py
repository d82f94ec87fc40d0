"""The gate of experiments: 200 only when Prometheus has said so, with numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from chaos import definition
from chaos.gate import objectives
from chaos.gate.app import create_app
from chaos.gate.objectives import BadObjectives, Check, Objective

SERVED = Check(reading="served_share", promql="served", at_least=0.6)
QUICK = Check(reading="p99_seconds", promql="p99", at_most=8.0)
ASKED = {"payment-down": Objective(name="payment-down", checks=(SERVED, QUICK))}

Answers = Callable[[httpx.Request], httpx.Response]


def vector(*values: str) -> httpx.Response:
    result = [{"metric": {}, "value": [0, value]} for value in values]
    return httpx.Response(200, json={"status": "success", "data": {"resultType": "vector", "result": result}})


def numbers(**by_query: str) -> Answers:
    return lambda request: vector(*by_query[request.url.params["query"]].split())


async def ask(prometheus: Answers, path: str = "/slo/payment-down", token: str = "", **headers: str) -> httpx.Response:
    client = httpx.AsyncClient(transport=httpx.MockTransport(prometheus), base_url="http://prometheus")
    app = create_app(ASKED, client, timeout_seconds=2.0, token=token)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate", headers=headers) as gate:
        return await gate.get(path)


async def test_what_holds_is_200_with_its_readings() -> None:
    answer = await ask(numbers(served="0.93", p99="1.5"))
    assert answer.status_code == 200
    assert answer.json() == {
        "ok": True,
        "objective": "payment-down",
        "answer": "ok",
        "readings": {"served_share": 0.93, "p99_seconds": 1.5},
    }
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("served", "status"), [("0.6", 200), ("0.59", 503)])
async def test_the_bound_itself_still_holds(served: str, status: int) -> None:
    assert (await ask(numbers(served=served, p99="8"))).status_code == status


async def test_one_breach_of_two_is_503_and_says_which() -> None:
    answer = await ask(numbers(served="0.93", p99="8.2"))
    assert answer.status_code == 503
    assert answer.json()["answer"] == "breached"
    assert answer.json()["reason"] == "p99_seconds is 8.2, not at most 8"


async def test_of_several_series_the_worst_counts() -> None:
    answer = await ask(numbers(served="1 0.2 0.9", p99="1 9 2"))
    assert answer.status_code == 503
    assert answer.json()["readings"] == {"served_share": 0.2, "p99_seconds": 9.0}


def refused(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def late(_request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("late")


@pytest.mark.parametrize(
    "prometheus",
    [
        refused,
        late,
        numbers(served="", p99="1"),
        numbers(served="NaN", p99="1"),
        numbers(served="1 NaN", p99="1"),
        numbers(served="+Inf", p99="1"),
        lambda _request: httpx.Response(422, json={"status": "error", "errorType": "bad_data"}),
        lambda _request: httpx.Response(200, text="<html>a proxy's page</html>"),
        lambda _request: httpx.Response(200, json=["not", "what", "was", "asked"]),
        lambda _request: httpx.Response(200, json={"status": "success", "data": {"resultType": "vector"}}),
    ],
)
async def test_whatever_is_not_known_is_503(prometheus: Answers) -> None:
    answer = await ask(prometheus)
    assert answer.status_code == 503
    body: dict[str, Any] = answer.json()
    assert (body["ok"], body["answer"], body["readings"]) == (False, "unknown", {})
    assert body["reason"]


async def test_nobody_can_ask_anything_but_what_is_written_down() -> None:
    asked: list[str] = []

    def prometheus(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.params["query"])
        return vector("1")

    for path in ("/slo/up", "/slo/sum(up)", "/slo/payment-down%20or%20up", "/slo/../api/v1/query?query=up"):
        assert (await ask(prometheus, path)).status_code == 404
    assert asked == []
    assert (await ask(prometheus, "/slo/payment-down?query=up")).status_code == 200
    assert sorted(asked) == ["p99", "served"]


@pytest.mark.parametrize(
    ("said", "status"), [({}, 401), ({"x-gate-token": "wrong"}, 401), ({"x-gate-token": "ab"}, 200)]
)
async def test_with_a_token_only_who_knows_it_is_answered(said: dict[str, str], status: int) -> None:
    answer = await ask(numbers(served="1", p99="1"), token="ab", **said)
    assert answer.status_code == status


async def test_answers_are_counted_by_objective() -> None:
    client = httpx.AsyncClient(
        transport=httpx.MockTransport(numbers(served="0.1", p99="1")), base_url="http://prometheus"
    )
    app = create_app(ASKED, client)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gate") as gate:
        for _ in range(2):
            await gate.get("/slo/payment-down")
        counted = (await gate.get("/metrics")).text
    assert 'slo_gate_answers_total{answer="breached",objective="payment-down"} 2.0' in counted


def test_every_experiment_has_an_objective_and_the_platform_has_its_own() -> None:
    found = objectives.read()
    assert {*definition.names(), "steady", "order-availability", "order-latency", "error-rate"} == {*found}


@pytest.mark.parametrize(
    "text",
    [
        "objectives: []",
        "objectives: [{name: a, checks: []}]",
        "objectives: [{name: a, checks: [{reading: r, promql: up}]}]",
        "objectives: [{name: a, checks: [{reading: r, promql: up, at_least: 1, at_most: 2}]}]",
        "objectives: [{name: a, checks: [{reading: r, promql: up, at_most: .nan}]}]",
        "objectives: [{name: A/B, checks: [{reading: r, promql: up, at_most: 1}]}]",
        "objectives: [{name: a, checks: &c [{reading: r, promql: up, at_most: 1}]}, {name: a, checks: *c}]",
        "[",
    ],
)
def test_a_file_that_makes_no_sense_is_refused_with_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "objectives.yaml"
    path.write_text(text)
    with pytest.raises(BadObjectives, match=r"objectives\.yaml"):
        objectives.read(path)
