"""The HTTP contract of the payment service, over a real database."""

import asyncio
import json
import re
from datetime import datetime

import httpx
import pytest
from sqlalchemy import text

from tests.integration.payment.counter import Counter, make_settings, open_counter, order, seal


def problem(answer: httpx.Response, status: int, slug: str) -> dict:
    body = answer.json()
    assert (answer.status_code, body["type"], body["status"]) == (status, f"/problems/{slug}", status), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return body


async def test_a_capture_answers_as_the_contract_says(counter: Counter) -> None:
    answer = await counter.orders.post("/process", json=order())

    assert answer.status_code == 200
    assert answer.headers["x-api-version"] == "v1"
    body = answer.json()
    assert re.fullmatch(r"pay_[0-9a-z]{26}", body.pop("transaction_id"))
    assert body == {
        "payment_key": "order-1",
        "status": "CAPTURED",
        "amount": 1299,
        "currency": "EUR",
        "card_last4": "4242",
        "processed_by": "v1",
    }


async def test_a_repeated_capture_answers_the_same(counter: Counter) -> None:
    first = await counter.orders.post("/process", json=order())
    second = await counter.orders.post("/process", json=order())

    assert (second.status_code, second.json()) == (200, first.json())


async def test_a_decline_answers_402_with_its_code_every_time(counter: Counter) -> None:
    answers = [await counter.orders.post("/process", json=order(number="4000000000009987")) for _ in range(2)]

    bodies = [problem(answer, 402, "card-declined") for answer in answers]
    assert bodies[0]["decline_code"] == bodies[1]["decline_code"] == "lost_card"
    assert bodies[0]["transaction_id"] == bodies[1]["transaction_id"]
    status = await counter.orders.get(f"/status/{bodies[0]['transaction_id']}")
    assert status.json()["status"] == "DECLINED"


@pytest.mark.parametrize("changes", [{"amount": 1300}, {"currency": "GBP"}])
async def test_the_same_key_for_something_else_answers_409(counter: Counter, changes: dict) -> None:
    await counter.orders.post("/process", json=order())

    problem(await counter.orders.post("/process", json=order(**changes)), 409, "payment-conflict")


async def test_a_network_that_does_not_answer_is_503_with_retry_after_and_the_key_stays_good(counter: Counter) -> None:
    await counter.operator.put("/admin/card-network", json={"lost_answers": 1.0})
    answer = await counter.orders.post("/process", json=order())
    problem(answer, 503, "card-network-unavailable")
    assert answer.headers["retry-after"] == "1"
    assert (await counter.orders.get("/payments/order-1")).json()["status"] == "PROCESSING"

    await counter.operator.put("/admin/card-network", json={})
    assert (await counter.orders.post("/process", json=order())).json()["status"] == "CAPTURED"


async def test_a_refund_gives_all_back_and_voids_what_follows(counter: Counter) -> None:
    captured = (await counter.orders.post("/process", json=order())).json()
    refunds = [
        await counter.orders.post("/refund", json={"payment_key": "order-1", "reason": "late"}) for _ in range(2)
    ]

    assert [refund.status_code for refund in refunds] == [200, 200]
    assert (
        refunds[0].json()
        == refunds[1].json()
        == {
            "transaction_id": captured["transaction_id"],
            "payment_key": "order-1",
            "status": "REFUNDED",
            "refunded_amount": 1299,
        }
    )
    problem(await counter.orders.post("/process", json=order()), 409, "payment-voided")


async def test_a_refund_of_a_key_never_charged_leaves_a_tombstone(counter: Counter) -> None:
    refund = await counter.orders.post("/refund", json={"payment_key": "order-1", "reason": "cancelled"})

    assert (refund.json()["status"], refund.json()["refunded_amount"]) == ("VOIDED", 0)
    problem(await counter.orders.post("/process", json=order()), 409, "payment-voided")
    shown = (await counter.orders.get("/payments/order-1")).json()
    assert (shown["status"], shown["amount"], shown["currency"]) == ("VOIDED", None, None)


async def test_a_refund_over_a_network_that_does_not_answer_is_503_and_can_be_repeated(counter: Counter) -> None:
    await counter.orders.post("/process", json=order())
    await counter.operator.put("/admin/card-network", json={"lost_requests": 1.0})
    refund = {"payment_key": "order-1", "reason": "late"}
    problem(await counter.orders.post("/refund", json=refund), 503, "card-network-unavailable")
    assert (await counter.orders.get("/payments/order-1")).json()["status"] == "REFUNDING"

    await counter.operator.put("/admin/card-network", json={})
    assert (await counter.orders.post("/refund", json=refund)).json()["status"] == "REFUNDED"


async def test_the_status_is_the_same_by_transaction_and_by_key(counter: Counter) -> None:
    captured = (await counter.orders.post("/process", json=order())).json()
    by_transaction = (await counter.orders.get(f"/status/{captured['transaction_id']}")).json()
    by_key = (await counter.orders.get("/payments/order-1")).json()

    assert by_transaction == by_key
    updated = datetime.fromisoformat(by_key.pop("updated_at"))
    assert updated.utcoffset().total_seconds() == 0
    assert by_key == {
        "transaction_id": captured["transaction_id"],
        "payment_key": "order-1",
        "status": "CAPTURED",
        "amount": 1299,
        "currency": "EUR",
        "refunded_amount": 0,
        "processed_by": "v1",
    }


@pytest.mark.parametrize("path", ["/status/pay_nobody", "/payments/nobody"])
async def test_what_does_not_exist_is_404(sqlite_counter: Counter, path: str) -> None:
    problem(await sqlite_counter.orders.get(path), 404, "payment-not-found")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": 10**9 + 1}, "amount"),
        ({"amount": 10**30}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": 12.0}, "amount"),
        ({"amount": "12"}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "XXX"}, "currency"),
        ({"currency": "EUR\n"}, "currency"),
        ({"payment_key": ""}, "payment_key"),
        ({"payment_key": "a" * 65}, "payment_key"),
        ({"payment_key": "order\u0000"}, "payment_key"),
        ({"payment_key": "order-1\n"}, "payment_key"),
        ({"payment_key": "ördér"}, "payment_key"),
        ({"payment_key": "٣"}, "payment_key"),
        ({"customer": ""}, "customer"),
        ({"customer": "a" * 65}, "customer"),
        ({"customer": "a\u0000b"}, "customer"),
        ({"customer": "\ud800"}, "body"),  # not JSON for a strict reader
        ({"customer": "a\u202eb"}, "customer"),
        ({"customer": "a\u00a0b"}, "customer"),
        ({"sealed_card": "not base64!"}, "sealed_card"),
        ({"sealed_card": "A" * 1028}, "sealed_card"),
        ({"sealed_card": "AAAA"}, "sealed_card"),
        ({"sealed_card": seal({"number": "4242"})}, "sealed_card"),
        ({"sealed_card": seal({"number": 4242424242424242})}, "sealed_card"),
        ({"sealed_card": seal({"number": "4242424242424242", "cvc": "123"})}, "sealed_card"),
        ({"sealed_card": seal(["4242424242424242"])}, "sealed_card"),
        ({"tip": 5}, "tip"),
    ],
)
async def test_bad_input_is_422_and_names_the_field(sqlite_counter: Counter, changes: dict, field: str) -> None:
    # escaped: the client's own encoder refuses half a surrogate pair
    content, headers = json.dumps(order(**changes)), {"content-type": "application/json"}
    answer = await sqlite_counter.orders.post("/process", content=content, headers=headers)

    body = problem(answer, 422, "invalid-input")
    assert field in {error["field"] for error in body["errors"]}
    assert "424242" not in str(body)


@pytest.mark.parametrize("customer", ["Ada Lovelace", "Žofia Müller-Ó Briain", "李小龍", "🦊"])
async def test_customers_are_called_what_they_are_called(sqlite_counter: Counter, customer: str) -> None:
    assert (await sqlite_counter.orders.post("/process", json=order(customer=customer))).status_code == 200


async def test_a_missing_field_is_named(sqlite_counter: Counter) -> None:
    body = order()
    del body["customer"]

    answer = problem(await sqlite_counter.orders.post("/process", json=body), 422, "invalid-input")
    assert [error["field"] for error in answer["errors"]] == ["customer"]


@pytest.mark.parametrize("key", ["a%00", "A", "a" * 65, "%C3%B6"])
async def test_a_path_that_is_no_id_is_422(sqlite_counter: Counter, key: str) -> None:
    problem(await sqlite_counter.orders.get(f"/payments/{key}"), 422, "invalid-input")


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/process"), ("POST", "/refund"), ("GET", "/status/pay_1"), ("GET", "/payments/order-1")],
)
async def test_only_the_order_service_may_call(sqlite_counter: Counter, method: str, path: str) -> None:
    for client in (sqlite_counter.stranger, sqlite_counter.operator):
        answer = await client.request(method, path, json=order() if method == "POST" else None)
        problem(answer, 401, "unauthorised")
        assert answer.headers["x-api-version"] == "v1"


async def test_no_card_number_is_stored_anywhere(counter: Counter) -> None:
    await counter.orders.post("/process", json=order())
    await counter.orders.post("/process", json=order("order-2", number="4000000000000002"))

    async with counter.app.state.chassis.database.read() as connection:
        for table in ("payments", "ledger", "card_network_charges"):
            rows = list(await connection.execute(text(f"SELECT * FROM {table}")))
            assert rows
            assert not re.search(r"\d{12,}", re.sub(r"(pay|net)_\w+|\b1[0-9]{12}\b", "", str(rows)))


async def test_no_card_number_is_logged(sqlite_counter: Counter, capfd: pytest.CaptureFixture) -> None:
    sealed = seal({"number": "4000000000000002", "more": 1})
    await sqlite_counter.orders.post("/process", json=order())
    await sqlite_counter.orders.post("/process", json=order("order-2", number="4000000000000002"))
    await sqlite_counter.orders.post("/process", json=order("order-3", sealed_card=sealed))

    written = "".join(capfd.readouterr())
    assert "payment settled" in written
    assert "4242424242424242" not in written
    assert "4000000000000002" not in written


async def test_version_2_adds_a_risk_score_and_the_networks_reference(database_url: str) -> None:
    async with open_counter(make_settings(database_url, api_version="v2")) as counter:
        answer = await counter.orders.post("/process", json=order())
        shown = (await counter.orders.get("/payments/order-1")).json()

    body = answer.json()
    assert answer.headers["x-api-version"] == body["processed_by"] == "v2"
    assert 0 <= body["risk_score"] <= 100
    assert body["network_reference"].startswith("net_")
    assert (shown["risk_score"], shown["network_reference"]) == (body["risk_score"], body["network_reference"])


async def test_both_versions_over_one_database_tell_of_the_same_payment(database_url: str) -> None:
    async with open_counter(make_settings(database_url)) as old:
        first = await old.orders.post("/process", json=order())
        async with open_counter(make_settings(database_url, api_version="v2")) as new:
            second = await new.orders.post("/process", json=order())

    assert (first.headers["x-api-version"], second.headers["x-api-version"]) == ("v1", "v2")
    added = {"risk_score", "network_reference"}
    assert set(second.json()) - set(first.json()) == added
    assert {name: value for name, value in second.json().items() if name not in added} == first.json()


async def test_a_hundred_calls_at_once_get_one_answer(counter: Counter) -> None:
    answers = await asyncio.gather(*(counter.orders.post("/process", json=order()) for _ in range(100)))

    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert counter.count("payments_total", outcome="captured") == 1


async def test_a_call_cut_off_by_its_deadline_is_finished_by_the_next(counter: Counter) -> None:
    await counter.operator.put("/admin/card-network", json={"latency_median_ms": 2000.0, "latency_p99_ms": 2000.0})
    late = await counter.orders.post("/process", json=order(), headers={"x-deadline-ms": "150"})
    problem(late, 504, "deadline-exceeded")

    await counter.operator.put("/admin/card-network", json={})
    assert (await counter.orders.post("/process", json=order())).json()["status"] == "CAPTURED"


async def test_the_metrics_tell_of_payments_calls_refunds_and_money(sqlite_counter: Counter) -> None:
    await sqlite_counter.orders.post("/process", json=order())
    await sqlite_counter.orders.post("/refund", json={"payment_key": "order-1", "reason": "late"})

    page = (await sqlite_counter.stranger.get("/metrics")).text
    for line in (
        'payments_total{outcome="captured"} 1.0',
        'payment_amount_minor_total{currency="EUR"} 1299.0',
        'card_network_calls_total{outcome="captured"} 1.0',
        'card_network_calls_total{outcome="refunded"} 1.0',
        'refunds_total{outcome="refunded"} 1.0',
    ):
        assert line in page


async def test_the_test_cards_are_shown_to_everybody_and_do_what_they_say(sqlite_counter: Counter) -> None:
    cards = (await sqlite_counter.stranger.get("/test-cards")).json()

    expected = {"captured": 200, "declined": 402, "network_error": 503}
    for index, card in enumerate(cards):
        answer = await sqlite_counter.orders.post("/process", json=order(f"order-{index}", number=card["number"]))
        assert answer.status_code == expected[card["outcome"]], card
        if card["outcome"] == "declined":
            assert answer.json()["decline_code"] == card["decline_code"]
    assert {card["outcome"] for card in cards} == set(expected)
