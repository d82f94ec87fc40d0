"""The small service, started, and ways to speak to it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from shared.telemetry import configure_tracing
from tests.unit.chassis.shop import Shop


@pytest.fixture(scope="session", autouse=True)
def tracing() -> None:
    """Traces as in a service; the provider of a process can be set only once."""
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        configure_tracing("shop", "shop-1", "1.2.3")


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[dict[str, Any]]]:
    """Every log record of ours, as a dictionary."""
    with structlog.testing.capture_logs() as records:
        yield records


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    """The service, started."""
    made = Shop(tmp_path, max_body_bytes=1_024, request_seconds=30, max_requests=5)
    async with made.app.router.lifespan_context(made.app):
        yield made


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of it, in the same process. An error that escapes the application fails the test."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client:
        yield client
