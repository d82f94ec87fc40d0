"""The invariants of money: between the orders, the ledger, and the card network's own memory."""

from collections.abc import Iterator

from infra.audit.records import ENDED_WITHOUT_SALE, UNDER_WAY, Evidence, Money, Order
from infra.audit.verdicts import Breach, Found, Invariant, found


def _charged_once(evidence: Evidence) -> Found:
    def breaches() -> Iterator[Breach]:
        for where, moved in (("at the card network", evidence.at_network), ("in the ledger", evidence.in_ledger)):
            for key, money in moved.items():
                if money.captures > 1:
                    yield Breach(key, f"captured {money.captures} times {where}, {money.captured} in all")

    return found(len({*evidence.at_network, *evidence.in_ledger}), breaches())


def _balanced(evidence: Evidence) -> Found:
    totals: dict[str, int] = {}

    def breaches() -> Iterator[Breach]:
        for balance in evidence.balances:
            difference = balance.debit - balance.credit
            totals[balance.currency] = totals.get(balance.currency, 0) + difference
            if difference:
                detail = f"debits {balance.debit}, credits {balance.credit} {balance.currency}"
                yield Breach(balance.transaction_id, detail)
            if balance.nameless:
                yield Breach(balance.transaction_id, f"{balance.nameless} lines without an account")
        for currency, difference in totals.items():
            if difference:
                yield Breach(f"all in {currency}", f"debits and credits differ by {difference}")

    return found(len(evidence.balances), breaches())


def _network_agrees(evidence: Evidence) -> Found:
    # the network is asked first and the answer written down after it: in between they differ, and may
    under_way = {p.key for p in evidence.payments if p.state in UNDER_WAY and evidence.is_recent(p.updated_at)}
    keys = {*evidence.at_network, *evidence.in_ledger} - under_way

    def breaches() -> Iterator[Breach]:
        for key in sorted(keys):
            network, books = evidence.at_network.get(key, Money()), evidence.in_ledger.get(key, Money())
            if (network.captured, network.refunded) != (books.captured, books.refunded):
                yield Breach(
                    key,
                    f"network: captured {network.captured}, refunded {network.refunded}; "
                    f"ledger: captured {books.captured}, refunded {books.refunded}",
                )
            elif network.currencies != books.currencies:
                yield Breach(key, f"network: {_listed(network)}; ledger: {_listed(books)}")

    return found(len(keys), breaches())


def _confirmed_paid(evidence: Evidence) -> Found:
    confirmed = [order for order in evidence.at_rest if order.state == "CONFIRMED"]

    def breaches() -> Iterator[Breach]:
        for order in confirmed:
            money = evidence.at_network.get(order.id, Money())
            if (money.captured, money.refunded) != (order.total, 0):
                yield Breach(
                    order.id,
                    f"total {order.total}, but the network captured {money.captured} and refunded {money.refunded}",
                )
            elif money.currencies - {order.currency}:
                yield Breach(order.id, f"ordered in {order.currency}, charged in {_listed(money)}")

    return found(len(confirmed), breaches())


def _ended_refunded(evidence: Evidence) -> Found:
    ended = [order for order in evidence.at_rest if order.state in ENDED_WITHOUT_SALE]

    def breaches() -> Iterator[Breach]:
        for order in ended:
            kept = _kept(evidence, order)
            if kept:
                yield Breach(order.id, f"{order.state}, but {kept}")

    return found(len(ended), breaches())


def _kept(evidence: Evidence, order: Order) -> str:
    sides = (("the network keeps", evidence.at_network), ("the ledger keeps", evidence.in_ledger))
    nets = [(side, moved.get(order.id, Money()).net) for side, moved in sides]
    return " and ".join(f"{side} {net} {order.currency}" for side, net in nets if net)


def _no_orphans(evidence: Evidence) -> Found:
    keys = {*(payment.key for payment in evidence.payments), *(charge.key for charge in evidence.charges)}
    orphans = sorted(keys - set(evidence.orders_after))

    def breaches() -> Iterator[Breach]:
        for key in orphans:
            money = evidence.at_network.get(key, Money())
            yield Breach(key, f"no such order; captured {money.captured}, refunded {money.refunded}")

    return found(len(keys), breaches())


def _listed(money: Money) -> str:
    return ", ".join(sorted(money.currencies)) or "no currency"


MONEY = (
    Invariant("charged-once", "no order is charged twice, at the card network or in the ledger", _charged_once),
    Invariant("ledger-balanced", "debits equal credits in each transaction and in total", _balanced),
    Invariant("network-agrees", "the card network and the ledger agree on every payment", _network_agrees),
    Invariant("confirmed-paid", "a CONFIRMED order has its total captured and nothing refunded", _confirmed_paid),
    Invariant("ended-refunded", "an order that ended without a sale keeps no money", _ended_refunded),
    Invariant("payments-owned", "every payment belongs to an order", _no_orphans),
)
