"""What the auditor takes from the databases. Times are epoch milliseconds, amounts the currency's minor unit."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

FINAL = frozenset(("CONFIRMED", "CANCELLED", "DECLINED", "REJECTED", "FAILED"))
ENDED_WITHOUT_SALE = FINAL - {"CONFIRMED"}
UNDER_WAY = frozenset(("PROCESSING", "REFUNDING"))
"""States of a payment whose next step may be on its way to the card network."""

Items = Mapping[str, int]
"""Quantity by sku."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order; its id is the key of its payment and of its reservation."""

    id: str
    idempotency_key: str | None
    state: str
    currency: str
    total: int
    items: Items
    updated_at: int


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as the payment service stored it."""

    transaction_id: str
    key: str
    state: str
    updated_at: int


@dataclass(frozen=True, slots=True)
class Charge:
    """What the card network remembers of a payment key."""

    key: str
    currency: str | None
    captured: int
    refunded: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the ledger; `kind` is capture or refund."""

    transaction_id: str
    kind: str
    currency: str
    amount: int


@dataclass(frozen=True, slots=True)
class Balance:
    """The ledger's lines of one transaction in one currency, added up; `nameless` lines have no account."""

    transaction_id: str
    currency: str
    debit: int
    credit: int
    nameless: int


@dataclass(frozen=True, slots=True)
class Product:
    """The stock of one product."""

    sku: str
    initial: int
    free: int
    held: int
    sold: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """A reservation; it holds stock in the state HELD and has sold it in COMMITTED."""

    id: str
    state: str
    items: Items


@dataclass(frozen=True, slots=True)
class Answer:
    """What a client was told; `line` is where the answers file says so."""

    line: int
    idempotency_key: str
    status: int
    order_id: str | None


@dataclass(frozen=True, slots=True)
class Money:
    """All that one side of the wire moved for a payment key; `captures` counts how often it took money."""

    captures: int = 0
    captured: int = 0
    refunded: int = 0
    currencies: frozenset[str] = frozenset()

    @property
    def net(self) -> int:
        """What was kept."""
        return self.captured - self.refunded

    def and_also(self, captured: int, refunded: int, currency: str | None) -> "Money":
        """This, and one movement more."""
        moved = {currency} if currency is not None and (captured or refunded) else set()
        return Money(
            self.captures + (captured > 0),
            self.captured + captured,
            self.refunded + refunded,
            self.currencies | moved,
        )


@dataclass(frozen=True)
class Evidence:
    """One reading of the three databases, each in one snapshot of its own.

    The orders are read twice, before the other databases (`orders`) and after them (`orders_after`). An order that is
    final and the same in both was left alone in between, so the other snapshots must agree with it; what the platform
    wrote in the meantime belongs to an order that is in `orders_after`.
    """

    orders: Mapping[str, Order]
    orders_after: Mapping[str, Order]
    confirmed_once: frozenset[str]
    """Ids of orders that have been CONFIRMED at some time."""
    shared_keys: Mapping[str, Sequence[str]]
    """Idempotency keys that more than one order has, with those orders."""
    payments: Sequence[Payment]
    charges: Sequence[Charge]
    entries: Sequence[Entry]
    balances: Sequence[Balance]
    products: Sequence[Product]
    reservations: Sequence[Reservation]
    read_at: int
    """When the reading was over."""
    answers: Sequence[Answer] = ()
    recovery_ms: int = 60_000
    all_settled: bool = False
    """Nothing may be under way any more, however young."""

    @cached_property
    def at_rest(self) -> list[Order]:
        """The final orders that nobody touched while the databases were read."""
        return [order for id_, order in self.orders.items() if order.state in FINAL and self.orders_after[id_] == order]

    @cached_property
    def at_network(self) -> Mapping[str, Money]:
        """What the card network moved, by payment key."""
        moved: defaultdict[str, Money] = defaultdict(Money)
        for charge in self.charges:
            moved[charge.key] = moved[charge.key].and_also(charge.captured, charge.refunded, charge.currency)
        return moved

    @cached_property
    def in_ledger(self) -> Mapping[str, Money]:
        """What the books say was moved, by payment key; by transaction id where no payment has it."""
        keys = {payment.transaction_id: payment.key for payment in self.payments}
        moved: defaultdict[str, Money] = defaultdict(Money)
        for entry in self.entries:
            key = keys.get(entry.transaction_id, entry.transaction_id)
            amounts = (entry.amount, 0) if entry.kind == "capture" else (0, entry.amount)
            moved[key] = moved[key].and_also(*amounts, entry.currency)
        return moved

    @cached_property
    def reservation_of(self) -> Mapping[str, Reservation]:
        """Reservations by id."""
        return {reservation.id: reservation for reservation in self.reservations}

    def is_recent(self, updated_at: int) -> bool:
        """Whether what was last touched then may still be under way."""
        return not self.all_settled and self.read_at - updated_at <= self.recovery_ms
