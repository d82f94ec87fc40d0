"""What the tutorial's services have in common: the application with its telemetry."""

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.sqlalchemy import SQLAlchemyInstrumentor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_fastapi_instrumentator import Instrumentator
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.bench.peers.tutorial.faults import Faults

_OPERATIONS = "health,metrics,faults"


def make_app(
    name: str, engine: AsyncEngine, lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]]
) -> FastAPI:
    """An instrumented application with a health check, and the switch for faults on purpose."""
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{os.environ['TRACES_URL']}/v1/traces")))
    trace.set_tracer_provider(provider)
    SQLAlchemyInstrumentor().instrument(engine=engine.sync_engine)
    HTTPXClientInstrumentor().instrument()
    # FastAPI's own telemetry is off: one set of spans is enough
    app = FastAPI(title=name, lifespan=lifespan, telemetry={"tracing": False, "metrics": False, "logs": False})
    Instrumentator(excluded_handlers=["/health", "/metrics", "/faults"]).instrument(app).expose(app)
    FastAPIInstrumentor.instrument_app(app, excluded_urls=_OPERATIONS)
    faults = Faults()
    app.include_router(faults.router)
    app.state.faults = faults

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "UP"}

    return app
