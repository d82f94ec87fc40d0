"""The gate's HTTP interface."""

import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx
from fastapi import FastAPI, Header, HTTPException, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest

from chaos.gate.judge import Answer, Judge
from chaos.gate.objectives import Objective


def create_app(
    objectives: Mapping[str, Objective],
    client: httpx.AsyncClient,
    *,
    timeout_seconds: float = 1.5,
    token: str = "",
) -> FastAPI:
    """The gate over these objectives; it closes `client` when it ends.

    Args:
        objectives: what can be asked, by name.
        client: with Prometheus as its base URL.
        timeout_seconds: for one answer.
        token: what `x-gate-token` has to say; empty lets everybody ask.
    """
    registry = CollectorRegistry()
    answers = Counter("slo_gate_answers", "Answers by objective.", ["objective", "answer"], registry=registry)
    seconds = Histogram("slo_gate_answer_seconds", "How long an answer took.", registry=registry)
    judge = Judge(client, timeout_seconds)

    @asynccontextmanager
    async def closes(_app: FastAPI) -> AsyncIterator[None]:
        async with client:
            yield

    app = FastAPI(title="SLO gate", docs_url=None, redoc_url=None, openapi_url=None, lifespan=closes)

    def check_token(said: str | None) -> None:
        if token and not hmac.compare_digest((said or "").encode(), token.encode()):
            raise HTTPException(401, "x-gate-token is missing or wrong")

    @app.get("/slo")
    async def listed(x_gate_token: Annotated[str | None, Header()] = None) -> list[str]:
        check_token(x_gate_token)
        return sorted(objectives)

    @app.get("/slo/{name}")
    async def asked(name: str, x_gate_token: Annotated[str | None, Header()] = None) -> JSONResponse:
        check_token(x_gate_token)
        objective = objectives.get(name)
        if objective is None:
            raise HTTPException(404, "no such objective")
        with seconds.time():
            judgement = await judge.judge(objective)
        answers.labels(name, judgement.answer.value).inc()
        body: dict[str, Any] = {
            "ok": judgement.answer is Answer.OK,
            "objective": name,
            "answer": judgement.answer.value,
            "readings": dict(judgement.readings),
        }
        if judgement.reason:
            body["reason"] = judgement.reason
        return JSONResponse(body, 200 if judgement.answer is Answer.OK else 503, headers={"cache-control": "no-store"})

    # Whether Prometheus is there is for the answers to say: a gate that is not ready would be silent and not say no.
    @app.get("/health/live")
    @app.get("/health/ready")
    async def healthy() -> dict[str, str]:
        return {"status": "UP"}

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return app
