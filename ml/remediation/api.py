"""What operators and the control room ask of a running remediator: on loopback, with a token where it matters."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import Depends, FastAPI, Header, HTTPException, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from ml.remediation.approvals import Answer, Approvals, NoSuchQuestion, Question, TooLate
from ml.remediation.loop import Remediator
from ml.remediation.metrics import Metrics


class Word(BaseModel):
    """A person's answer to a question, and who it is."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "deny"]
    by: str = Field(min_length=1, max_length=100, pattern=r"^[\w .@-]+$")


def create_app(remediator: Remediator, approvals: Approvals, metrics: Metrics, token: str) -> FastAPI:
    """`token`: whoever has it may approve; it is never empty."""
    if not token:
        raise ValueError("an empty token would let everybody in")
    app = FastAPI(title="remediation", openapi_url=None, docs_url=None, redoc_url=None)

    def operator(authorization: Annotated[str | None, Header()] = None) -> None:
        if not hmac.compare_digest((authorization or "").encode(), f"Bearer {token}".encode()):
            raise HTTPException(401, "the operator's token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    known = [Depends(operator)]

    _for_everybody(app, metrics)

    @app.get("/state", dependencies=known)
    def state() -> dict[str, Any]:
        return {
            "mode": remediator.policy.mode,
            "stopped": remediator.stopped,
            "policy_error": remediator.policy_error,
            "decisions": [
                {
                    "service": each.service,
                    "verdict": each.verdict,
                    "reason": each.reason,
                    "alarm": each.alarm or None,
                    "action": str(each.action) if each.action else None,
                }
                for each in remediator.decisions
            ],
        }

    @app.get("/approvals", dependencies=known)
    def questions() -> list[dict[str, Any]]:
        return [shown(each) for each in approvals.all()]

    @app.post("/approvals/{question_id}", dependencies=known)
    async def answer(question_id: str, word: Word) -> dict[str, Any]:
        # on the event loop, as the remediator is: nobody else answers in between
        try:
            return shown(approvals.answer(question_id, yes=word.decision == "approve", by=word.by))
        except NoSuchQuestion as error:
            raise HTTPException(404, "there is no such question") from error
        except TooLate as error:
            raise HTTPException(409, f"too late: it is {error}") from error

    return app


def _for_everybody(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/metrics")
    def numbers() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def shown(question: Question) -> dict[str, Any]:
    """One question as JSON; times in seconds since 1970."""
    return {
        "id": question.id,
        "service": question.action.service,
        "action": str(question.action),
        "kind": question.action.kind,
        "alarm": question.alarm,
        "cause": question.cause,
        "prediction": question.prediction,
        "asked": question.asked,
        "expires": question.expires,
        "state": question.answer,
        "by": question.by or None,
        "open": question.answer is Answer.WAITING,
    }


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Any:
        """The command handles signals for all of it."""
        yield


@asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[None]:
    """The interface on the loopback address, inside the block."""
    server = _Server(
        uvicorn.Config(app, host="127.0.0.1", port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    )
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=5)
