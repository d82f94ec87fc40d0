"""The order service's parts, put together in one place."""

import contextlib
import ipaddress
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import httpx
from fastapi import FastAPI
from opentelemetry import trace

from services.order import tables
from services.order.call_metrics import CallMetrics
from services.order.checkout import Checkout
from services.order.downstream import ServiceClient
from services.order.inventory_client import InventoryServiceClient
from services.order.metrics import OrderMetrics
from services.order.orders import Orders
from services.order.payment_client import PaymentServiceClient
from services.order.placing import Placing
from services.order.recovery import Recovery
from services.order.sealing import CardSealer
from services.order.settings import OrderSettings
from services.order.settlements import Settlements
from services.order.transport import http_transport
from shared.chassis.app import Chassis
from shared.chassis.auth import TokenSigner
from shared.chassis.faults.names import without_names
from shared.chassis.faults.transport import BreakableTransport
from shared.messaging import Broker, Limits, NatsTransitionStore, Outbox, Worker
from shared.resilience import ConfigWatcher, Registry, SharedBreakers
from shared.resilience.tracing import NOTEWORTHY, add_span_event

_SETTLEMENTS_AT_ONCE = 16


class Service:
    """Everything that a request of the order API may need.

    `doorkeeper` is the pipeline that bounds how many checkouts run at once: the rest wait for their turn, in order.
    """

    http: httpx.AsyncClient
    _nameless: httpx.AsyncBaseTransport
    payment: PaymentServiceClient
    inventory: InventoryServiceClient
    checkout: Checkout
    placing: Placing

    def __init__(self, settings: OrderSettings, chassis: Chassis) -> None:
        self.settings, self.chassis = settings, chassis
        self.clock = chassis.clock
        self.registry = Registry.from_file(settings.resilience_file)
        self.registry.subscribe(add_span_event, *NOTEWORTHY)
        self.doorkeeper = self.registry.pipeline("order.checkout")
        if self.doorkeeper.bulkhead is not None:
            # Before its body is read: an order that would only be refused later costs nearly nothing.
            chassis.admission.line_is_full = partial(getattr, self.doorkeeper.bulkhead, "full")
        self.sealer = CardSealer(settings.card_sealing_public_key.get_secret_value())
        self.broker = Broker(
            settings.nats_url,
            user=settings.service,
            password=settings.nats_password.get_secret_value(),
            name=settings.instance,
            limits=Limits(replicas=settings.nats_replicas),
        )
        self.outbox = Outbox(chassis.database, tables.outbox, self.broker, clock=self.clock, registry=chassis.metrics)
        self.metrics = OrderMetrics(chassis.metrics)
        self.calls = CallMetrics(chassis.metrics)
        lease_ms = int(settings.lease_seconds * 1000)
        self.orders = Orders(
            chassis.database,
            self.outbox,
            self.clock,
            lease_ms=lease_ms,
            ended=self.metrics.ended,
            resumed=self.metrics.resumed,
        )
        self.tracer = trace.get_tracer("holdfast.order")

    @asynccontextmanager
    async def resources(self, app: FastAPI) -> AsyncIterator[None]:
        """Open the clients and the broker, and register the background tasks."""
        settings = self.settings
        async with (
            http_transport(settings.max_connections) as transport,
            without_names() as self._nameless,
            httpx.AsyncClient(transport=transport, trust_env=False) as http,
        ):
            self.http = http
            payment = self._client("payment", settings.payment_url, transport)
            self.payment = PaymentServiceClient(payment, self.registry, self.chassis.metrics)
            inventory = self._client("inventory", settings.inventory_url, transport)
            self.inventory = InventoryServiceClient(inventory, self.registry)
            self.checkout = Checkout(
                self.orders,
                self.inventory,
                self.payment,
                self.clock,
                hold_seconds=settings.hold_seconds,
                ask_again_ms=int(settings.ask_again_seconds * 1000),
                patience_ms=int(settings.patience_seconds * 1000),
            )
            self.placing = Placing(self.orders, self.checkout, self.inventory, self.sealer)
            self._add_background()
            await self.broker.start()
            app.state.service = self
            try:
                yield
            finally:
                await self.broker.stop()

    def _add_background(self) -> None:
        background = self.chassis.background
        background.add("recovery", Recovery(self.orders, self.checkout).run)
        background.add("outbox-relay", self.outbox.run)
        background.add(
            "resilience-reload", ConfigWatcher(self.registry, interval=self.settings.resilience_reload_seconds).run
        )
        if self.settings.share_breakers and self.broker.configured:
            store = NatsTransitionStore(self.broker, service=self.settings.service)
            shared = SharedBreakers(self.registry, store, origin=self.settings.instance)
            background.add("shared-breakers", shared.run)
        background.add("order-gauges", partial(self.metrics.watch, self.orders))
        settlements = Worker(
            self.broker,
            stream="PAYMENTS",
            durable="order-settlements",
            subject="payments.settled",
            handler=Settlements(self.orders, self.checkout).handle,
            concurrency=_SETTLEMENTS_AT_ONCE,
            clock=self.clock,
            registry=self.chassis.metrics,
        )
        background.add("settlements", settlements.run)

    def _client(self, service: str, url: str, transport: httpx.AsyncBaseTransport) -> ServiceClient:
        key = getattr(self.settings, f"order_to_{service}_key")
        signer = TokenSigner("order", service, key, now=self.clock.now)
        nameless = None if _is_address(httpx.URL(url).host) else self._nameless
        breakable = BreakableTransport(transport, service, self.chassis.faults.network, nameless)
        return ServiceClient(service, url, signer, breakable, self.calls.edge(service))


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(ipaddress.ip_address(host))
    return False
