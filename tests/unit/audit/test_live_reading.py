"""A live platform moves while it is read: what was in motion is no breach, what was at rest must fit."""

from dataclasses import replace

from infra.audit.__main__ import INVARIANTS
from infra.audit.records import Answer, Charge, Entry, Evidence, Order, Payment, Reservation
from infra.audit.verdicts import judge

NOW = 1_700_000_000_000
ORDER = Order("o1", "key-1", "CONFIRMED", "EUR", 900, {"bell": 1}, NOW - 500)


def evidence(before: list[Order], after: list[Order], **read: object) -> Evidence:
    nothing: dict[str, object] = {
        "confirmed_once": frozenset({"o1"}),
        "shared_keys": {},
        "payments": [],
        "charges": [],
        "entries": [],
        "balances": [],
        "products": [],
        "reservations": [],
        "read_at": NOW,
    }
    orders = {"orders": {order.id: order for order in before}, "orders_after": {order.id: order for order in after}}
    return Evidence(**(nothing | orders | read))  # type: ignore[arg-type]


def broken(seen: Evidence) -> set[str]:
    return {verdict.invariant.name for verdict in judge(INVARIANTS, seen) if not verdict.holds}


def test_an_order_at_rest_must_fit_the_other_databases() -> None:
    assert broken(evidence([ORDER], [ORDER])) == {"confirmed-paid", "confirmed-sold"}


def test_an_order_that_was_cancelled_while_the_databases_were_read_is_not_judged() -> None:
    cancelled = replace(ORDER, state="CANCELLED", updated_at=NOW)
    refunded = {
        "payments": [Payment("t1", "o1", "REFUNDED", NOW)],
        "charges": [Charge("o1", "EUR", 900, 900)],
        "entries": [Entry("t1", "capture", "EUR", 900), Entry("t1", "refund", "EUR", 900)],
        "reservations": [Reservation("o1", "RETURNED", {"bell": 1})],
    }
    assert broken(evidence([ORDER], [cancelled], **refunded)) == set()
    half = refunded | {"entries": refunded["entries"][:1], "payments": [Payment("t1", "o1", "REFUNDING", NOW)]}
    assert broken(evidence([ORDER], [cancelled], **half)) == set()


def test_an_order_that_was_confirmed_while_the_databases_were_read_is_not_judged() -> None:
    confirming = replace(ORDER, state="CONFIRMING", updated_at=NOW - 900)
    assert broken(evidence([confirming], [ORDER])) == set()


def test_an_order_that_came_while_the_databases_were_read_owns_its_payment_and_hold() -> None:
    new = replace(ORDER, state="CHARGING")
    read = {
        "payments": [Payment("t1", "o1", "PROCESSING", NOW)],
        "charges": [Charge("o1", "EUR", 900, 0)],
        "reservations": [Reservation("o1", "EXPIRED", {"bell": 1})],
    }
    assert broken(evidence([], [new], **read)) == set()
    assert broken(evidence([], [], **read)) == {"payments-owned"}


def test_a_promise_is_young_as_long_as_its_order_is() -> None:
    waiting = replace(ORDER, state="PENDING_PAYMENT", updated_at=NOW - 60_000)
    told = [Answer(1, "key-1", 202, "o1")]
    assert broken(evidence([waiting], [waiting], answers=told)) == set()
    assert broken(evidence([waiting], [waiting], answers=told, recovery_ms=59_999)) == {"orders-end", "answers-kept"}
    assert broken(evidence([waiting], [waiting], answers=told, all_settled=True)) == {"orders-end", "answers-kept"}


def test_a_confirmed_order_being_cancelled_on_request_keeps_its_201() -> None:
    cancelling = replace(ORDER, state="CANCELLING")
    told = [Answer(1, "key-1", 201, "o1")]
    assert broken(evidence([ORDER], [cancelling], answers=told)) == set()
    assert broken(evidence([ORDER], [cancelling], answers=told, confirmed_once=frozenset())) == {"answers-kept"}
