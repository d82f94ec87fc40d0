"""schemathesis against the three running services: no answer that the OpenAPI documents do not list, and no 5xx."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from infra.local.harness import running_stack
from infra.local.stack import LocalStack
from services.order.sealing import CardSealer
from shared.chassis.auth import TokenSigner
from tests.e2e import sequences
from tests.e2e.conftest import audit
from tests.e2e.customers import DECLINED_CARD, GOOD_CARD, customers
from tests.e2e.settling import until_settled
from tests.fixtures.examples import examples

pytestmark = pytest.mark.slow

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
FUZZ = settings(
    max_examples=examples(20),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A platform of its own: payments for orders that do not exist are what the auditor calls a breach."""
    with running_stack(tmp_path_factory.mktemp("fuzzed") / ".local") as stack:
        yield stack


def test_orders_placed_read_listed_and_cancelled_in_any_sequence_leave_the_books_right(platform: LocalStack) -> None:
    # before the other tests: they make payments and reservations of which no order knows
    followed = _walk(platform, "order")
    assert followed["create_order", "get_order", 200]
    assert followed["create_order", "cancel_order", 200]
    assert followed["cancel_order", "get_order", 200]
    asyncio.run(_settle(platform))
    audit(platform)


@pytest.mark.parametrize(
    ("service", "sequence"), [("payment", ("process", "refund", 200)), ("inventory", ("commit", "release", 200))]
)
def test_the_calls_of_a_service_follow_each_other_in_any_sequence(
    platform: LocalStack, service: str, sequence: tuple[str, str, int]
) -> None:
    assert _walk(platform, service)[sequence]


@pytest.mark.parametrize("service", ["order", "payment", "inventory"])
def test_a_service_answers_as_documented_whatever_it_is_sent(platform: LocalStack, service: str) -> None:
    # the service itself: what is before it answers for itself, and has tests of its own
    schema = schemathesis.openapi.from_url(f"{platform.url(f'{service}-1')}/openapi.json")
    # these two make requests fail on purpose, which is what this test looks for
    schema = schema.exclude(path="/admin/card-network", method="PUT").exclude(path="/admin/faults", method="POST")
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) >= 8
    for operation in operations:
        _fuzz(operation, _headers(platform, service, operation.path))


def _walk(platform: LocalStack, service: str) -> sequences.Followed:
    """Follow the links of a service's document: what an answer names is there, and every answer is a documented one."""
    url = platform.url(f"{service}-1")
    document = sequences.document(url)
    _narrow(platform, service, document)
    followed = sequences.follow(
        document,
        url,
        CHECKS,
        headers=partial(_headers, platform, service),
        names={"create_order": "Idempotency-Key", "process": "payment_key", "reserve": "reservation_id"},
        scenarios=examples(12),
    )
    assert 404 not in {status for *_, status in followed}
    return followed


def _narrow(platform: LocalStack, service: str, document: dict[str, Any]) -> None:
    """Leave in the document what succeeds: goods that there are, cards that somebody has sealed."""
    cards, names, pages = [GOOD_CARD, GOOD_CARD, DECLINED_CARD], sequences.NAMES, [1, 2, 50]
    if service == "payment":
        sealer = CardSealer(platform.secret("order", "card_sealing_public_key"))
        sealed = [sealer.seal(SecretStr(number)) for number in cards]
        sequences.choose(document, "ProcessRequest", sealed_card=sealed, payment_key=names, amount=[100, 2_500])
        return
    products = httpx.get(f"{platform.url('inventory-1')}/products", timeout=30).raise_for_status().json()["items"]
    sequences.choose(document, "Item", sku=[each["sku"] for each in products], quantity=[1, 2, 3])
    if service == "order":
        sequences.choose(document, "NewOrder", currency=["EUR"])
        sequences.choose(document, "Card", number=cards)
        sequences.choose_parameter(document, "post /orders", "Idempotency-Key", names)
        sequences.choose_parameter(document, "get /orders", "limit", pages)
    else:
        sequences.choose(document, "NewReservation", reservation_id=names)
        sequences.choose_parameter(document, "get /products", "limit", pages)


async def _settle(platform: LocalStack) -> None:
    async with customers(platform.url("order")) as crowd:
        await until_settled(crowd, seconds=90)


def _fuzz(operation: schemathesis.APIOperation, headers: dict[str, str]) -> None:
    @FUZZ
    @given(case=operation.as_strategy())
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers)

    run()


def _headers(platform: LocalStack, service: str, path: str) -> dict[str, str]:
    if service == "order":
        return {}
    if path.startswith("/admin") or path.endswith("/restock"):
        token = platform.secret("operator", "admin_token")
    else:
        key = SecretStr(platform.secret("order", f"order_to_{service}_key"))
        token = TokenSigner("order", service, key).token()
    return {"Authorization": f"Bearer {token}"}
