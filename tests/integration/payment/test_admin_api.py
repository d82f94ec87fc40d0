"""The operator's switch for the card network, and the description of the API."""

import httpx
import pytest

from tests.integration.payment.counter import Counter, order

CONFIGURED = {"latency_median_ms": 0.0, "latency_p99_ms": 0.0, "lost_requests": 0.0, "lost_answers": 0.0}


async def test_the_switch_shows_what_is_in_force_and_what_is_configured(sqlite_counter: Counter) -> None:
    answer = await sqlite_counter.operator.get("/admin/card-network")

    assert answer.json() == {
        "instance": "payment-test",
        "current": CONFIGURED,
        "configured": CONFIGURED,
        "reverts_in_seconds": None,
    }


async def test_what_a_switch_leaves_out_is_as_configured(sqlite_counter: Counter) -> None:
    await sqlite_counter.operator.put("/admin/card-network", json={"lost_answers": 0.5})
    answer = await sqlite_counter.operator.put("/admin/card-network", json={"lost_requests": 0.25, "seconds": 60})

    body = answer.json()
    assert body["current"] == CONFIGURED | {"lost_requests": 0.25}
    assert 0 < body["reverts_in_seconds"] <= 60


async def test_an_empty_switch_undoes_the_one_before(sqlite_counter: Counter) -> None:
    await sqlite_counter.operator.put("/admin/card-network", json={"lost_answers": 1.0})
    await sqlite_counter.operator.put("/admin/card-network", json={})

    assert (await sqlite_counter.orders.post("/process", json=order())).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"lost_requests": 1.5},
        {"lost_requests": 0.6, "lost_answers": 0.6},
        {"latency_median_ms": 10.0, "latency_p99_ms": 5.0},
        {"latency_median_ms": 10.0},
        {"lost_requests": True},
        {"lost_requests": "0.5"},
        {"seconds": 0},
        {"seconds": -1},
        {"speed": 3},
        [],
    ],
)
async def test_a_behaviour_that_makes_no_sense_is_refused_and_changes_nothing(sqlite_counter: Counter, body) -> None:
    answer = await sqlite_counter.operator.put("/admin/card-network", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert (await sqlite_counter.operator.get("/admin/card-network")).json()["current"] == CONFIGURED


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_the_switch_is_for_operators_only(sqlite_counter: Counter, method: str) -> None:
    for client in (sqlite_counter.orders, sqlite_counter.stranger):
        answer = await client.request(method, "/admin/card-network", json={} if method == "PUT" else None)
        assert answer.status_code == 401


async def test_the_description_of_the_api_shows_both_versions_and_every_refusal(sqlite_counter: Counter) -> None:
    description = (await sqlite_counter.stranger.get("/openapi.json")).json()

    process = description["paths"]["/process"]["post"]["responses"]
    assert {"200", "401", "402", "409", "422", "503"} <= set(process)
    choices = process["200"]["content"]["application/json"]["schema"]["anyOf"]
    assert {choice["$ref"].rsplit("/")[-1] for choice in choices} == {"ProcessAnswer", "ProcessAnswerV2"}
    assert "risk_score" in description["components"]["schemas"]["ProcessAnswerV2"]["properties"]
    assert "risk_score" not in description["components"]["schemas"]["ProcessAnswer"]["properties"]
    status = description["paths"]["/status/{transaction_id}"]["get"]["responses"]
    assert {"200", "401", "404", "422"} <= set(status)
    assert {"401", "422"} <= set(description["paths"]["/admin/card-network"]["put"]["responses"])


async def test_a_payment_service_without_a_broker_is_ready(sqlite_counter: Counter) -> None:
    answer: httpx.Response = await sqlite_counter.stranger.get("/health/ready")

    assert answer.status_code == 200
    assert set(answer.json()["dependencies"]) == {"database", "descriptors"}
    assert answer.headers["x-api-version"] == "v1"
