"""The invariants of stock: of the inventory by itself, and between it and the orders."""

from collections import Counter
from collections.abc import Iterator

from infra.audit.records import ENDED_WITHOUT_SALE, Evidence, Items
from infra.audit.verdicts import Breach, Found, Invariant, found

_HOLDING = {"HELD": "held", "COMMITTED": "sold"}


def _never_negative(evidence: Evidence) -> Found:
    def breaches() -> Iterator[Breach]:
        for product in evidence.products:
            for kind in ("initial", "free", "held", "sold"):
                if getattr(product, kind) < 0:
                    yield Breach(product.sku, f"{kind} is {getattr(product, kind)}")

    return found(len(evidence.products), breaches())


def _adds_up(evidence: Evidence) -> Found:
    return found(
        len(evidence.products),
        (
            Breach(p.sku, f"sold {p.sold} + held {p.held} + free {p.free} is not initial {p.initial}")
            for p in evidence.products
            if p.sold + p.held + p.free != p.initial
        ),
    )


def _explained(evidence: Evidence) -> Found:
    owed = {state: Counter[str]() for state in _HOLDING}
    for reservation in evidence.reservations:
        if reservation.state in owed:
            owed[reservation.state].update(reservation.items)
    stock = {product.sku: product for product in evidence.products}

    def breaches() -> Iterator[Breach]:
        for state, kind in _HOLDING.items():
            for sku in sorted({*stock, *owed[state]}):
                counted = getattr(stock[sku], kind) if sku in stock else 0
                if counted != owed[state][sku]:
                    yield Breach(sku, f"{kind} is {counted}, but {state} reservations add up to {owed[state][sku]}")

    return found(len(evidence.products), breaches())


def _confirmed_sold(evidence: Evidence) -> Found:
    confirmed = [order for order in evidence.at_rest if order.state == "CONFIRMED"]

    def breaches() -> Iterator[Breach]:
        for order in confirmed:
            reservation = evidence.reservation_of.get(order.id)
            if reservation is None:
                yield Breach(order.id, "there is no reservation")
            elif reservation.state != "COMMITTED":
                yield Breach(order.id, f"its reservation is {reservation.state}")
            elif reservation.items != order.items:
                yield Breach(order.id, f"ordered {_listed(order.items)}, sold {_listed(reservation.items)}")

    return found(len(confirmed), breaches())


def _ended_released(evidence: Evidence) -> Found:
    ended = [order for order in evidence.at_rest if order.state in ENDED_WITHOUT_SALE]

    def breaches() -> Iterator[Breach]:
        for order in ended:
            reservation = evidence.reservation_of.get(order.id)
            if reservation is not None and reservation.state in _HOLDING:
                yield Breach(order.id, f"{order.state}, but its reservation is {reservation.state}")

    return found(len(ended), breaches())


def _no_orphans(evidence: Evidence) -> Found:
    holding = [reservation for reservation in evidence.reservations if reservation.state in _HOLDING]
    return found(
        len(holding),
        (
            Breach(reservation.id, f"no such order; {reservation.state} {_listed(reservation.items)}")
            for reservation in holding
            if reservation.id not in evidence.orders_after
        ),
    )


def _listed(items: Items) -> str:
    return ", ".join(f"{quantity} {sku}" for sku, quantity in sorted(items.items())) or "nothing"


STOCK = (
    Invariant("stock-not-negative", "stock is never below zero", _never_negative),
    Invariant("stock-adds-up", "sold + held + free = initial", _adds_up),
    Invariant("stock-explained", "held and sold are what the reservations say", _explained),
    Invariant("confirmed-sold", "a CONFIRMED order has sold the very items ordered", _confirmed_sold),
    Invariant("ended-released", "an order that ended without a sale holds no stock", _ended_released),
    Invariant("reservations-owned", "every reservation with stock belongs to an order", _no_orphans),
)
