"""The inventory over HTTP: every answer of the contract."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from services.inventory.app import create_app
from services.inventory.settings import InventorySettings
from shared.chassis.auth import TokenSigner

KEY = SecretStr("k" * 32)
ADMIN = {"Authorization": "Bearer " + "admin-token-of-a-test", "Idempotency-Key": "k1"}
HOLD = {
    "reservation_id": "ord_1",
    "items": [{"sku": "mug-enamel", "quantity": 2}, {"sku": "bell-brass", "quantity": 1}],
    "ttl_seconds": 60,
}


@pytest.fixture
async def app(database_url: str) -> AsyncIterator[FastAPI]:
    app = create_app(
        InventorySettings(
            database_url=SecretStr(database_url),
            sqlite_synchronous="normal",
            admin_token=SecretStr("admin-token-of-a-test"),
            order_to_inventory_key=KEY,
        )
    )
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def public(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://inventory") as client:
        yield client


@pytest.fixture
def order(public: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with the order service's token."""
    public.headers["Authorization"] = f"Bearer {TokenSigner('order', 'inventory', KEY).token()}"
    return public


def problem(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["status"] == answer.status_code
    return answer.status_code, body["type"].removeprefix("/problems/")


def fields(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


async def test_the_catalogue_is_public_and_paged(public: httpx.AsyncClient) -> None:
    skus: list[str] = []
    after: dict[str, Any] = {}
    while True:
        page = (await public.get("/products", params={"limit": 10, **after})).json()
        skus += [product["sku"] for product in page["items"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert len(skus) == len(set(skus)) >= 20
    assert skus == sorted(skus)
    mug = (await public.get("/products/mug-enamel")).json()
    assert mug.keys() == {"sku", "name", "description", "prices", "available"}
    assert mug["prices"]["EUR"] == 1490
    assert mug["available"] == 250_000
    assert problem(await public.get("/products/zither")) == (404, "unknown-sku")


async def test_a_bad_page_is_refused_by_name(public: httpx.AsyncClient) -> None:
    for query in ("limit=0", "limit=201", "limit=x", "after=%00", "after=No"):
        assert fields(await public.get(f"/products?{query}")) == [query.split("=")[0]], query


async def test_availability_answers_stock_and_price_of_each_item(order: httpx.AsyncClient) -> None:
    items = [{"sku": "print-limited", "quantity": 101}, {"sku": "mug-enamel", "quantity": 1}]
    answer = await order.post("/availability", json={"currency": "GBP", "items": items})
    assert answer.status_code == 200
    assert answer.json() == {
        "available": False,
        "currency": "GBP",
        "items": [
            {"sku": "print-limited", "quantity": 101, "available": 100, "unit_price": 4200, "sufficient": False},
            {"sku": "mug-enamel", "quantity": 1, "available": 250_000, "unit_price": 1290, "sufficient": True},
        ],
    }


async def test_availability_names_what_it_does_not_know(order: httpx.AsyncClient) -> None:
    items = [{"sku": "mug-enamel", "quantity": 1}, {"sku": "zither", "quantity": 1}]
    answer = await order.post("/availability", json={"currency": "EUR", "items": items})
    assert problem(answer) == (422, "unknown-sku")
    assert fields(answer) == ["items[1].sku"]
    answer = await order.post("/availability", json={"currency": "CHF", "items": items[:1]})
    assert problem(answer) == (422, "unknown-currency")
    assert fields(answer) == ["currency"]


async def test_a_reservation_goes_from_hold_to_sale_to_return(order: httpx.AsyncClient) -> None:
    held = await order.post("/reservations", json=HOLD)
    assert held.status_code == 201
    body = held.json()
    assert body.keys() == {"reservation_id", "state", "expires_at", "items"}
    assert (body["reservation_id"], body["state"]) == ("ord_1", "HELD")
    assert body["expires_at"].endswith("Z")
    assert datetime.fromisoformat(body["expires_at"]).tzinfo is not None
    assert sorted(body["items"], key=str) == sorted(HOLD["items"], key=str)

    repeated = await order.post("/reservations", json=HOLD)
    assert (repeated.status_code, repeated.json()) == (200, body)
    assert (await order.get("/reservations/ord_1")).json() == body
    for _ in range(2):
        committed = await order.post("/reservations/ord_1/commit")
        assert (committed.status_code, committed.json()["state"]) == (200, "COMMITTED")
    again = await order.post("/reservations", json=HOLD)
    assert (again.status_code, again.json()["state"]) == (200, "COMMITTED")
    for _ in range(2):
        returned = await order.post("/reservations/ord_1/release")
        assert (returned.status_code, returned.json()["state"]) == (200, "RETURNED")
    assert problem(await order.post("/reservations/ord_1/commit")) == (409, "reservation-released")
    assert problem(await order.post("/reservations", json=HOLD)) == (409, "reservation-released")


async def test_too_little_stock_is_a_409_that_lists_every_item(order: httpx.AsyncClient) -> None:
    items = [{"sku": "mug-enamel", "quantity": 1}, {"sku": "print-limited", "quantity": 101}]
    answer = await order.post("/reservations", json={**HOLD, "items": items})
    assert problem(answer) == (409, "insufficient-stock")
    assert answer.json()["items"] == [
        {"sku": "mug-enamel", "quantity": 1, "available": 250_000, "sufficient": True},
        {"sku": "print-limited", "quantity": 101, "available": 100, "sufficient": False},
    ]
    assert problem(await order.get("/reservations/ord_1")) == (404, "unknown-reservation")


async def test_the_refusals_of_reservations(order: httpx.AsyncClient) -> None:
    await order.post("/reservations", json=HOLD)
    other = {**HOLD, "items": HOLD["items"][:1]}
    assert problem(await order.post("/reservations", json=other)) == (409, "reservation-conflict")
    unknown = {**HOLD, "reservation_id": "ord_2", "items": [{"sku": "zither", "quantity": 1}]}
    answer = await order.post("/reservations", json=unknown)
    assert (problem(answer), fields(answer)) == ((422, "unknown-sku"), ["items[0].sku"])
    assert problem(await order.post("/reservations/ord_9/commit")) == (404, "unknown-reservation")
    tombstone = await order.post("/reservations/ord_9/release")
    assert tombstone.json() == {"reservation_id": "ord_9", "state": "RELEASED", "expires_at": None, "items": []}
    late = await order.post("/reservations", json={**HOLD, "reservation_id": "ord_9"})
    assert problem(late) == (409, "reservation-released")


async def test_an_expired_hold_is_refused_at_commit_and_taken_again_with_201(
    app: FastAPI, order: httpx.AsyncClient
) -> None:
    await order.post("/reservations", json={**HOLD, "ttl_seconds": 3600})
    stock = app.state.inventory.stock
    clock, stock._clock = stock._clock, type("Later", (), {"now": lambda _: clock.now() + 3600})()
    assert await stock.expire(10) == 1
    stock._clock = clock
    assert (await order.get("/reservations/ord_1")).json()["state"] == "EXPIRED"
    assert problem(await order.post("/reservations/ord_1/commit")) == (409, "hold-expired")
    assert (await order.post("/reservations", json=HOLD)).status_code == 201
    assert (await order.post("/reservations/ord_1/commit")).status_code == 200


BAD = [
    ({"items": []}, "items"),
    ({"items": [{"sku": "mug-enamel", "quantity": 1}] * 51}, "items"),
    ({"items": [{"sku": "mug-enamel", "quantity": 1}] * 2}, "items[1].sku"),
    ({"items": [{"sku": "mug-enamel"}]}, "items[0].quantity"),
    ({"items": [{"sku": "mug-enamel", "quantity": 1, "price": 1}]}, "items[0].price"),
    ({"items": "mug-enamel"}, "items"),
    ({"ttl_seconds": 0}, "ttl_seconds"),
    ({"ttl_seconds": 3601}, "ttl_seconds"),
    ({"ttl_seconds": 1.5}, "ttl_seconds"),
    ({"ttl_seconds": True}, "ttl_seconds"),
    ({"reservation_id": ""}, "reservation_id"),
    ({"reservation_id": "A"}, "reservation_id"),
    ({"reservation_id": "a" * 65}, "reservation_id"),
    ({"reservation_id": "a\n"}, "reservation_id"),
    ({"reservation_id": 7}, "reservation_id"),
    ({"priority": 1}, "priority"),
    ({"items": [{"sku": "\ud800", "quantity": 1}]}, "body"),  # not JSON for a strict reader
    *(
        ({"items": [{"sku": "mug-enamel", "quantity": 1}, {"sku": "bell-brass", "quantity": bad}]}, "items[1].quantity")
        for bad in (0, -1, 1001, 10**30, 1.0, "1", True, None)
    ),
    *(
        ({"items": [{"sku": bad, "quantity": 1}]}, "items[0].sku")
        for bad in ("", "-a", "MUG", "a\x00", "a\n", "\u0430nchor", "a" * 65, "a b", 1, None)
    ),
]


async def test_bad_input_is_a_422_that_names_the_field(order: httpx.AsyncClient) -> None:
    for change, field in BAD:
        # written with escapes: half of a surrogate pair has no other way into JSON
        text = json.dumps({**HOLD, **change})
        answer = await order.post("/reservations", content=text, headers={"content-type": "application/json"})
        assert fields(answer) == [field], change
    assert problem(await order.get("/reservations/ord_1"))[0] == 404


async def test_a_bad_id_in_the_path_is_a_422(order: httpx.AsyncClient) -> None:
    for name in ("UPPER", "a%00b", "a" * 65, "%F0%9F%94%94"):
        for method, path in (("GET", ""), ("POST", "/commit"), ("POST", "/release")):
            answer = await order.request(method, f"/reservations/{name}{path}")
            assert fields(answer) == ["reservation_id"], (name, path)


RESERVING = [
    ("POST", "/availability"),
    ("POST", "/reservations"),
    ("GET", "/reservations/ord_1"),
    ("POST", "/reservations/ord_1/commit"),
    ("POST", "/reservations/ord_1/release"),
]


async def test_only_the_order_service_may_reserve(public: httpx.AsyncClient) -> None:
    tokens = [
        None,
        TokenSigner("payment", "inventory", KEY).token(),
        TokenSigner("order", "payment", KEY).token(),
        TokenSigner("order", "inventory", SecretStr("x" * 32)).token(),
        ADMIN["Authorization"].removeprefix("Bearer "),
    ]
    for token in tokens:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        for method, path in RESERVING:
            answer = await public.request(method, path, json=HOLD, headers=headers)
            assert problem(answer) == (401, "unauthorised"), (method, path, token)


async def test_an_operator_restocks_once_a_key(public: httpx.AsyncClient) -> None:
    for _ in range(2):
        answer = await public.post("/products/print-limited/restock", json={"quantity": 50}, headers=ADMIN)
        assert (answer.status_code, answer.json()["available"]) == (200, 150)
    other = await public.post("/products/print-limited/restock", json={"quantity": 51}, headers=ADMIN)
    assert (problem(other), fields(other)) == ((422, "idempotency-key-reused"), ["Idempotency-Key"])
    unknown = await public.post(
        "/products/zither/restock", json={"quantity": 1}, headers={**ADMIN, "Idempotency-Key": "k2"}
    )
    assert problem(unknown) == (404, "unknown-sku")


async def test_a_restock_needs_the_admin_token_and_a_key(order: httpx.AsyncClient) -> None:
    path = "/products/print-limited/restock"
    assert problem(await order.post(path, json={"quantity": 1})) == (401, "unauthorised")
    keyless = {"Authorization": ADMIN["Authorization"]}
    assert fields(await order.post(path, json={"quantity": 1}, headers=keyless)) == ["Idempotency-Key"]
    for quantity in (0, -5, 1_000_001, 1.0, "1"):
        assert fields(await order.post(path, json={"quantity": quantity}, headers=ADMIN)) == ["quantity"]


async def test_outcomes_are_counted_and_gauges_are_shown(order: httpx.AsyncClient) -> None:
    await order.post("/reservations", json=HOLD)
    await order.post("/reservations", json=HOLD)
    await order.post("/reservations/ord_1/commit")
    await order.post("/reservations/ord_2/commit")
    text = (await order.get("/metrics")).text
    for outcome in ("held", "repeated", "committed", "unknown_reservation"):
        assert f'reservations_total{{outcome="{outcome}"}} 1.0' in text
    assert "\nholds_expired_total " in text
    gauges = ('\ninventory_holds{state="held"} ', '\nstock_units{kind="free"} ')
    async with asyncio.timeout(20):  # a task beside the requests sets them
        while not all(gauge in text for gauge in gauges):
            await asyncio.sleep(0.01)
            text = (await order.get("/metrics")).text


async def test_a_second_replica_starts_on_the_same_database_and_keeps_its_stock(
    order: httpx.AsyncClient, database_url: str
) -> None:
    await order.post("/reservations", json=HOLD)
    settings = InventorySettings(
        database_url=SecretStr(database_url), admin_token=SecretStr("a" * 16), order_to_inventory_key=KEY
    )
    second = create_app(settings)
    async with (
        second.router.lifespan_context(second),
        httpx.AsyncClient(transport=httpx.ASGITransport(second), base_url="http://two") as client,
    ):
        assert (await client.get("/products/bell-brass")).json()["available"] == 699


async def test_every_refusal_of_the_contract_is_in_the_openapi_description(app: FastAPI) -> None:
    paths = app.openapi()["paths"]
    documented = {
        ("get", "/products"): {"200", "422"},
        ("get", "/products/{sku}"): {"200", "404", "422"},
        ("post", "/availability"): {"200", "401", "422"},
        ("post", "/reservations"): {"200", "201", "401", "409", "422"},
        ("get", "/reservations/{reservation_id}"): {"200", "401", "404", "422"},
        ("post", "/reservations/{reservation_id}/commit"): {"200", "401", "404", "409", "422"},
        ("post", "/reservations/{reservation_id}/release"): {"200", "401", "422"},
        ("post", "/products/{sku}/restock"): {"200", "401", "404", "422"},
    }
    for (method, path), statuses in documented.items():
        assert statuses <= set(paths[path][method]["responses"]), (method, path)
