"""The invariants of promises: every order comes to an end, and ends as the customer was told."""

from collections.abc import Iterator

from infra.audit.answers import PROMISES
from infra.audit.records import FINAL, Answer, Evidence, Order
from infra.audit.verdicts import Breach, Found, Invariant, found


def _orders_end(evidence: Evidence) -> Found:
    def breaches() -> Iterator[Breach]:
        for order in evidence.orders_after.values():
            if order.state not in FINAL and not evidence.is_recent(order.updated_at):
                age = (evidence.read_at - order.updated_at) / 1000
                yield Breach(order.id, f"still {order.state}, last touched {age:.0f} s ago")

    return found(len(evidence.orders_after), breaches())


def _answers_kept(evidence: Evidence) -> Found:
    promises = [answer for answer in evidence.answers if answer.status in PROMISES]

    def breaches() -> Iterator[Breach]:
        for answer in promises:
            broken = _broken(evidence, answer)
            if broken:
                told = f"line {answer.line} of the answers: {answer.status} for {answer.idempotency_key}"
                yield Breach(answer.order_id or answer.idempotency_key, f"{told}, but {broken}")

    return found(len(promises), breaches())


def _broken(evidence: Evidence, answer: Answer) -> str:
    if answer.order_id is None:
        return "it names no order"
    order = evidence.orders_after.get(answer.order_id)
    if order is None:
        return "there is no such order"
    if order.idempotency_key != answer.idempotency_key:
        return f"the order has the key {order.idempotency_key}"
    if answer.status == 201:
        return _not_as_confirmed(evidence, order)
    if order.state not in FINAL and not evidence.is_recent(order.updated_at):
        return f"the order is still {order.state}"
    return ""


def _not_as_confirmed(evidence: Evidence, order: Order) -> str:
    if order.state == "CONFIRMED":
        return ""
    # a sale that was made ends only when the customer asks for it: nothing else leads out of CONFIRMED
    by_request = order.id in evidence.confirmed_once
    if by_request and (order.state == "CANCELLED" or (order.state == "CANCELLING" and _may_go_on(evidence, order))):
        return ""
    return f"the order is {order.state}" + ("" if by_request else " and never was CONFIRMED")


def _may_go_on(evidence: Evidence, order: Order) -> bool:
    return evidence.is_recent(order.updated_at)


def _one_order_a_key(evidence: Evidence) -> Found:
    told: dict[str, set[str]] = {}
    for answer in evidence.answers:
        if answer.status in PROMISES and answer.order_id is not None:
            told.setdefault(answer.idempotency_key, set()).add(answer.order_id)

    def breaches() -> Iterator[Breach]:
        for key, orders in evidence.shared_keys.items():
            yield Breach(key, f"{len(orders)} orders have it: {', '.join(sorted(orders)[:5])}")
        for key, named in told.items():
            if len(named) > 1:
                yield Breach(key, f"its answers name {len(named)} orders: {', '.join(sorted(named)[:5])}")

    keys = {order.idempotency_key for order in evidence.orders_after.values()} - {None}
    return found(len(keys | set(told)), breaches())


PROMISED = (
    Invariant("orders-end", "every order is final within the recovery limit", _orders_end),
    Invariant("answers-kept", "every 201 is CONFIRMED (or cancelled on request), every 202 is final", _answers_kept),
    Invariant("one-order-a-key", "an idempotency key has one order", _one_order_a_key),
)
