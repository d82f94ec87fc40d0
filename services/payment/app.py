"""Puts the payment service together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.payment.admin import admin_router
from services.payment.api import payment_router, test_cards_router
from services.payment.behaviour import BehaviourSwitch
from services.payment.card_network import SimulatedCardNetwork
from services.payment.gateway import Gateway
from services.payment.payments import Payments
from services.payment.queue_worker import DURABLE, REQUESTED, STREAM, QueueWorker
from services.payment.records import PaymentRecords
from services.payment.sealing import CardOpener
from services.payment.settings import PaymentSettings
from shared.chassis.app import Chassis, build_app
from shared.chassis.clock import Clock
from shared.chassis.faults.idempotency import IdempotencyFaults
from shared.messaging import Broker, Limits, RedeliveryPolicy, Worker

VERSION = "1.0.0"
VERSION_HEADER = b"x-api-version"
MIGRATIONS = Path(__file__).parent / "migrations"
_DESCRIPTION = (
    "Charges cards once a payment key and gives back. Two versions run side by side: v2 adds `risk_score` and "
    "`network_reference`; the header `x-api-version` of every answer names the version that gave it."
)


def create_app(settings: PaymentSettings, *, clock: Clock | None = None) -> FastAPI:
    """The payment service as an ASGI application."""
    chassis = Chassis(
        settings, version=VERSION, migrations=MIGRATIONS, title="Holdfast payment", description=_DESCRIPTION
    )
    clock = clock or chassis.clock
    switch = BehaviourSwitch(settings.behaviour())
    random = Random(settings.card_network_seed)  # noqa: S311 - latencies, not secrets
    network = SimulatedCardNetwork(chassis.database, clock, switch, random)
    gateway = Gateway(network, limit_seconds=settings.card_network_limit_seconds, metrics=chassis.metrics)
    records = PaymentRecords(chassis.database, clock, version=settings.api_version)
    payments = Payments(records, gateway, chassis.metrics, forgets=partial(_forgets, chassis.faults.idempotency))
    chassis.faults.idempotency.remembered = True
    opener = CardOpener(settings.card_sealing_private_key)
    password = settings.nats_password.get_secret_value()
    broker = Broker(
        settings.nats_url,
        user=settings.service,
        password=password,
        name=settings.instance,
        limits=Limits(replicas=settings.nats_replicas),
    )
    if broker.configured:
        _work_off_the_queue(chassis, settings, broker, QueueWorker(payments, opener, broker), clock)

    @asynccontextmanager
    async def resources() -> AsyncIterator[None]:
        await broker.start()
        try:
            yield
        finally:
            await broker.stop()

    app = build_app(
        chassis,
        routers=[
            payment_router(payments, opener, settings.api_version),
            test_cards_router(),
            admin_router(switch, settings.instance),
        ],
        resources=resources,
    )
    app.add_middleware(_NameVersion, version=settings.api_version)
    return app


def _forgets(faults: IdempotencyFaults) -> bool:
    fault = faults.striking()
    if fault is not None:
        fault.strike()
    return fault is not None


def _work_off_the_queue(
    chassis: Chassis, settings: PaymentSettings, broker: Broker, queue: QueueWorker, clock: Clock
) -> None:
    worker = Worker(
        broker,
        stream=STREAM,
        durable=DURABLE,
        subject=REQUESTED,
        handler=queue.handle,
        policy=RedeliveryPolicy(
            max_deliveries=settings.worker_max_deliveries,
            first_wait=settings.worker_first_wait_seconds,
            multiplier=settings.worker_wait_multiplier,
            max_wait=settings.worker_max_wait_seconds,
        ),
        concurrency=settings.worker_concurrency,
        clock=clock,
        registry=chassis.metrics,
    )

    async def connected() -> None:
        if not broker.connected:
            raise ConnectionError("the broker is away")

    chassis.background.add(DURABLE, worker.run)
    chassis.health.add("nats", connected, required=False)


class _NameVersion:
    """Names the API version in every answer, errors included."""

    def __init__(self, app: ASGIApp, *, version: str) -> None:
        self._app, self._header = app, (VERSION_HEADER, version.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], self._header]
            await send(message)

        await self._app(scope, receive, send_named)
