"""Charging and giving back, each once a payment key, whatever number of attempts and whatever is killed when.

Both are three steps: write down the intent, ask the network (idempotent by the same key), write down the answer if the
payment has not moved on meanwhile. A process killed between any two leaves a payment in PROCESSING or REFUNDING, and
the same call again runs the remaining steps. So do two calls at the same time, and both find the same result.
"""

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter

from services.payment.card_network import NetworkUnavailable
from services.payment.gateway import Gateway
from services.payment.records import Charge, Payment, PaymentRecords, State
from shared.chassis.ids import new_id
from shared.telemetry import remark

_CHARGEABLE = frozenset((State.PROCESSING, State.CAPTURED))


class PaymentConflict(Exception):
    """The key belongs to a payment of another amount or currency."""


class Payments:
    """What the service does for its callers, over HTTP and from the queue alike.

    forgets: asked when a key is known; true, it is taken for a new one: only for a fault on purpose
    """

    def __init__(
        self,
        records: PaymentRecords,
        gateway: Gateway,
        metrics: CollectorRegistry,
        forgets: Callable[[], bool] = lambda: False,
    ) -> None:
        self._records, self._gateway, self._forgets = records, gateway, forgets
        self._outcomes = Counter(
            "payments_total",
            "captured, declined, voided: once a payment; repeated, conflict, unavailable: once an attempt",
            ["outcome"],
            registry=metrics,
        )
        for outcome in ("captured", "declined", "voided", "repeated", "conflict", "unavailable"):
            self._outcomes.labels(outcome)
        self._captured = Counter(
            "payment_amount_minor_total", "Money captured, in the minor unit", ["currency"], registry=metrics
        )
        self._refunds = Counter(
            "refunds_total",
            "refunded, voided: once a payment; repeated, unavailable: once an attempt",
            ["outcome"],
            registry=metrics,
        )
        for outcome in ("refunded", "voided", "repeated", "unavailable"):
            self._refunds.labels(outcome)

    async def process(self, charge: Charge) -> Payment:
        """Charge once for this key. The answer's state says how it ended: CAPTURED, DECLINED, or else voided.

        Raises `PaymentConflict`, or `NetworkUnavailable` when nothing is known: the same call again is safe.
        """
        payment, is_new = await self._records.begin(charge)
        if payment.contradicts(charge):
            self._outcomes.labels("conflict").inc()
            raise PaymentConflict("the key belongs to a payment of another amount or currency")
        network_key = charge.payment_key
        if not is_new and payment.state in _CHARGEABLE and self._forgets():
            # what a service does that makes up a key for each attempt: the network cannot know that it is the same
            network_key = f"{charge.payment_key}~{new_id('again')}"
        elif payment.state is not State.PROCESSING:
            self._outcomes.labels("repeated").inc()
            return payment
        try:
            answer = await self._gateway.charge(network_key, charge.amount, charge.currency, charge.card)
        except NetworkUnavailable as error:
            self._outcomes.labels("unavailable").inc()
            _remark_unavailable("charge", charge.payment_key, error)
            raise
        payment, changed = await self._records.settle(charge.payment_key, answer)
        self._count_settled(payment, changed=changed)
        return payment

    async def refund(self, payment_key: str, reason: str) -> Payment:
        """Give back all that was charged for this key, and refuse what may still be charged.

        The answer's state is REFUNDED when money went back, else VOIDED or DECLINED. Raises `NetworkUnavailable` when
        nothing is known: the same call again is safe.
        """
        payment = await self._records.begin_refund(payment_key, reason)
        if payment.state is not State.REFUNDING:
            self._refunds.labels("repeated").inc()
            return payment
        try:
            answer = await self._gateway.refund(payment_key)
        except NetworkUnavailable as error:
            self._refunds.labels("unavailable").inc()
            _remark_unavailable("refund", payment_key, error)
            raise
        payment, changed = await self._records.settle_refund(payment_key, answer)
        self._refunds.labels(payment.state.lower() if changed else "repeated").inc()
        if changed:
            remark("payment refunded", payment_key=payment_key, state=payment.state, amount=payment.refunded_amount)
        return payment

    async def by_key(self, payment_key: str) -> Payment | None:
        """The payment with this key, if there is one."""
        return await self._records.by_key(payment_key)

    async def by_transaction(self, transaction_id: str) -> Payment | None:
        """The payment with this transaction id, if there is one."""
        return await self._records.by_transaction(transaction_id)

    def _count_settled(self, payment: Payment, *, changed: bool) -> None:
        if not changed:
            self._outcomes.labels("repeated").inc()
            return
        self._outcomes.labels(payment.state.lower()).inc()
        if payment.state is State.CAPTURED:
            self._captured.labels(payment.currency).inc(payment.amount or 0)
        remark("payment settled", payment_key=payment.payment_key, state=payment.state, code=payment.decline_code)


def _remark_unavailable(call: str, payment_key: str, error: NetworkUnavailable) -> None:
    remark("card network unavailable", level=logging.WARNING, call=call, payment_key=payment_key, reason=str(error))
