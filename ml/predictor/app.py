"""The sidecar's HTTP interface. All of it reads; nothing here acts."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException as RoutingError

from ml.artefact import Manifest
from ml.predictor.answers import HealthAnswer, ModelAnswer, PredictionAnswer, PredictionsAnswer, ProblemAnswer
from ml.predictor.metrics import Counts, Now
from ml.predictor.watch import Watch

PROBLEM = "application/problem+json"
_UNKNOWN_SERVICE: dict[int | str, dict[str, Any]] = {
    404: {"description": "No such service", "content": {PROBLEM: {"schema": ProblemAnswer.model_json_schema()}}}
}

log = structlog.get_logger()


def create_app(watch: Watch, manifest: Manifest, counts: Counts) -> FastAPI:
    """The application; its loop runs from its start to its end."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(watch.run(), name="watch")
        app.state.loop = task
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    app = FastAPI(title="Holdfast predictor", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(RoutingError, _problem)
    app.add_exception_handler(RequestValidationError, _problem)
    counts.registry.register(Now(watch))
    _predictions(app, watch, manifest)
    _operations(app, watch, counts)
    return app


def _predictions(app: FastAPI, watch: Watch, manifest: Manifest) -> None:
    @app.get("/predict/{service}", responses=_UNKNOWN_SERVICE)
    async def predict(service: str) -> PredictionAnswer:
        """The latest prediction about one service; `unknown` where nothing can be said."""
        if service not in watch.services:
            raise HTTPException(404, f"watched are: {', '.join(watch.services)}")
        return PredictionAnswer.of(watch.current(service), manifest)

    @app.get("/predictions")
    async def predictions() -> PredictionsAnswer:
        """The latest prediction about every service."""
        found = [PredictionAnswer.of(watch.current(service), manifest) for service in watch.services]
        return PredictionsAnswer(predictions=found)

    @app.get("/model")
    async def model() -> ModelAnswer:
        """The model in use, and how it fares."""
        return ModelAnswer(
            **manifest.model_dump(
                include={
                    "name",
                    "created",
                    "sha256",
                    "threshold",
                    "persistence",
                    "history_minutes",
                    "dataset",
                    "metrics",
                }
            ),
            features=len(manifest.features),
            calibration_error=watch.calibration.error(),
            drift=watch.drift.indices(),
        )


def _operations(app: FastAPI, watch: Watch, counts: Counts) -> None:
    @app.get("/health/live", responses={503: {"model": HealthAnswer}})
    async def live(response: Response) -> HealthAnswer:
        """Whether the loop runs; one that has ended does not come back by itself."""
        if app.state.loop.done():
            response.status_code = 503
            return HealthAnswer(status="the loop has ended")
        return HealthAnswer(status="alive")

    @app.get("/health/ready", responses={503: {"model": HealthAnswer}})
    async def ready(response: Response) -> HealthAnswer:
        """Whether the first minute has been looked at. Without Prometheus, too: `unknown` is an answer."""
        if not watch.ready:
            response.status_code = 503
            return HealthAnswer(status="the first minute is not over")
        return HealthAnswer(status="ready")

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(counts.registry), media_type=CONTENT_TYPE_LATEST)


async def _problem(request: Request, error: Exception) -> Response:
    if isinstance(error, RoutingError):
        status, detail, headers = error.status_code, str(error.detail), error.headers
    else:
        status, detail, headers = 422, "the request does not fit the interface", None
    title = HTTPStatus(status).phrase
    slug = title.lower().replace(" ", "-")
    body = ProblemAnswer(
        type=f"/problems/{slug}", title=title, status=status, detail=detail, instance=request.url.path[:200]
    )
    return Response(body.model_dump_json(), status, headers, PROBLEM)
