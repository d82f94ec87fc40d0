"""Input that is wrong on purpose: each time a 4xx problem that names what is wrong, never a 5xx."""

import json
from typing import Any

import aiohttp
import pytest

from infra.local.stack import LocalStack
from tests.e2e.customers import order_body

pytestmark = pytest.mark.slow


def changed(path: str, value: Any) -> dict[str, Any]:
    """A good order with one thing made wrong; `path` as in `items.0.sku`."""
    body: Any = order_body()
    *parents, last = path.split(".")
    place = body
    for part in parents:
        place = place[int(part)] if part.isdigit() else place[part]
    place[int(last) if last.isdigit() else last] = value
    return body


WRONG_FIELDS: list[tuple[str, Any, str]] = [
    ("customer", "", "customer"),
    ("customer", "a" * 65, "customer"),
    ("customer", "\u0000", "customer"),
    ("customer", "\u202eada", "customer"),
    ("customer", ["ada"], "customer"),
    ("customer", None, "customer"),
    ("currency", "eur", "currency"),
    ("currency", "XXX", "currency"),
    ("currency", 978, "currency"),
    ("items", [], "items"),
    ("items", "mug-enamel", "items"),
    ("items", [{"sku": "mug-enamel", "quantity": 1}] * 2, "items"),
    ("items", [{"sku": f"sku-{n}", "quantity": 1} for n in range(51)], "items"),
    ("items.0.sku", "no-such-thing", "items[0].sku"),
    ("items.0.sku", "../../etc/passwd", "items[0].sku"),
    ("items.0.sku", "mug-enamel' OR 1=1 --", "items[0].sku"),
    ("items.0.sku", "ᴍᴜɢ-enamel", "items[0].sku"),
    ("items.0.quantity", 0, "items[0].quantity"),
    ("items.0.quantity", -1, "items[0].quantity"),
    ("items.0.quantity", 1.5, "items[0].quantity"),
    ("items.0.quantity", "1", "items[0].quantity"),
    ("items.0.quantity", True, "items[0].quantity"),
    ("items.0.quantity", 10**30, "items[0].quantity"),
    ("items.0.price", 1, "items[0].price"),
    ("total_amount", 1, "total_amount"),
    ("payment_method.number", "4242", "payment_method.number"),
    ("payment_method.number", "4242-4242-4242-4242", "payment_method.number"),
    ("payment_method.number", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢", "payment_method.number"),
    ("payment_method.number", 4242424242424242, "payment_method.number"),
    ("payment_method.type", "cash", "payment_method.type"),
]

UNREADABLE: list[tuple[bytes, str]] = [
    (b"", "body"),
    (b"{", "body"),
    (b"[]", "body"),
    (b"null", "body"),
    (b'"\xff\xfe"', "body"),
    (b"[" * 5_000, "body"),
    (b'{"customer": ' + b"9" * 5_000 + b"}", "body"),
    (b"{}", "customer"),
]


async def _post(platform: LocalStack, content: bytes, **headers: str) -> tuple[int, dict[str, Any], str]:
    sent = {"Content-Type": "application/json", "Idempotency-Key": "hostile", **headers}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{platform.url('order')}/orders", data=content, headers=sent) as response,
    ):
        return response.status, await response.json(content_type=None), response.content_type


@pytest.mark.parametrize(
    ("path", "value", "field"), WRONG_FIELDS, ids=lambda v: None if not isinstance(v, str) else v[:24]
)
async def test_a_wrong_field_is_refused_by_name(platform: LocalStack, path: str, value: Any, field: str) -> None:
    status, problem, media_type = await _post(platform, json.dumps(changed(path, value)).encode())
    assert (status, media_type) == (422, "application/problem+json")
    assert field in [error["field"] for error in problem["errors"]]
    assert len(problem["trace_id"]) == 32


@pytest.mark.parametrize(("content", "field"), UNREADABLE, ids=lambda v: repr(v)[:16])
async def test_a_body_that_cannot_be_read_is_refused(platform: LocalStack, content: bytes, field: str) -> None:
    status, problem, media_type = await _post(platform, content)
    assert status in (400, 422)
    assert media_type == "application/problem+json"
    if status == 422:
        assert field in [error["field"] for error in problem["errors"]]


async def test_a_lone_surrogate_is_refused_in_values_and_in_names(platform: LocalStack) -> None:
    good = json.dumps(order_body())
    for content in (good.replace('"ada"', '"\\ud800"'), good.replace('"customer"', '"\\ud800"')):
        status, _, media_type = await _post(platform, content.encode())
        assert (400 <= status < 500, media_type) == (True, "application/problem+json")


async def test_a_body_that_is_too_large_is_refused_whether_or_not_it_says_so(platform: LocalStack) -> None:
    status, problem, _ = await _post(platform, json.dumps(changed("customer", "a" * 100_000)).encode())
    assert (status, problem["type"]) == (413, "/problems/body-too-large")

    async def in_pieces():
        for _ in range(20):
            yield b" " * 10_000

    status, problem, _ = await _post(platform, in_pieces())
    assert (status, problem["type"]) == (413, "/problems/body-too-large")


@pytest.mark.parametrize("key", ["", "a" * 129, "with space", "emoji-\N{GRINNING FACE}"])
async def test_a_wrong_idempotency_key_is_refused_by_name(platform: LocalStack, key: str) -> None:
    content = json.dumps(order_body()).encode()
    try:
        status, problem, _ = await _post(platform, content, **{"Idempotency-Key": key})
    except (UnicodeEncodeError, ValueError):
        pytest.skip("this client cannot even send it")
    assert (status, problem["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_a_missing_idempotency_key_is_refused_by_name(platform: LocalStack) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{platform.url('order')}/orders", json=order_body()) as response,
    ):
        assert response.status == 422
        assert (await response.json(content_type=None))["errors"][0]["field"] == "Idempotency-Key"


@pytest.mark.parametrize("service", ["payment", "inventory"])
async def test_nobody_without_a_token_reaches_what_is_behind(platform: LocalStack, service: str) -> None:
    path = {"payment": "/refund", "inventory": "/reservations"}[service]
    async with aiohttp.ClientSession() as session:
        for headers in ({}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}):
            async with session.post(f"{platform.url(service)}{path}", json={}, headers=headers) as response:
                assert response.status == 401
                assert response.content_type == "application/problem+json"
