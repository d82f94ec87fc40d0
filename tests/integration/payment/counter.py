"""The service's HTTP surface, called as the order service and an operator call it."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi import FastAPI
from nacl.public import PrivateKey, SealedBox
from pydantic import SecretStr

from services.payment.app import create_app
from services.payment.settings import PaymentSettings
from shared.chassis.auth import TokenSigner

SEALING_KEY = PrivateKey.generate()
EDGE_KEY = SecretStr("edge-key-of-order-and-payment-for-tests")
ADMIN_TOKEN = "admin-token-for-tests"


def encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def seal(contents: Any) -> str:
    """Seal JSON for the payment service, as the order service does with a card."""
    return encode(SealedBox(SEALING_KEY.public_key).encrypt(json.dumps(contents).encode()))


def order(key: str = "order-1", number: str = "4242424242424242", **changes: Any) -> dict[str, Any]:
    """The body of a good `POST /process`."""
    body = {
        "payment_key": key,
        "amount": 1299,
        "currency": "EUR",
        "customer": "ada",
        "sealed_card": seal({"number": number}),
    }
    return body | changes


def make_settings(database_url: str, **changes: Any) -> PaymentSettings:
    values = {
        "database_url": database_url,
        "admin_token": ADMIN_TOKEN,
        "order_to_payment_key": EDGE_KEY.get_secret_value(),
        "card_sealing_private_key": encode(bytes(SEALING_KEY)),
        "sqlite_synchronous": "normal",
        "card_network_latency_median_ms": 0.0,
        "card_network_latency_p99_ms": 0.0,
        "instance": "payment-test",
    }
    return PaymentSettings(**values | changes)


@dataclass
class Counter:
    """A running application and the two clients that may call it."""

    app: FastAPI
    orders: httpx.AsyncClient
    operator: httpx.AsyncClient
    stranger: httpx.AsyncClient

    def count(self, name: str, **labels: str) -> float:
        return self.app.state.chassis.metrics.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def open_counter(settings: PaymentSettings) -> AsyncIterator[Counter]:
    app = create_app(settings)
    token = TokenSigner("order", "payment", EDGE_KEY).token()
    transport = httpx.ASGITransport(app)

    def client(**headers: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=transport, base_url="http://payment", headers=headers, timeout=30)

    async with (
        app.router.lifespan_context(app),
        client(authorization=f"Bearer {token}") as orders,
        client(authorization=f"Bearer {ADMIN_TOKEN}") as operator,
        client() as stranger,
    ):
        yield Counter(app, orders, operator, stranger)
