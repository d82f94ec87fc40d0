"""What operators and the control room ask of a running remediator, with a token where it matters."""

import asyncio
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Header, HTTPException, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, ConfigDict, Field

from ml.remediation.approvals import Answer, Approvals, NoSuchQuestion, Question, TooLate
from ml.remediation.audit import Record
from ml.remediation.limits import Action
from ml.remediation.loop import Remediator
from ml.remediation.metrics import Metrics

LOOPBACK = "127.0.0.1"
_MOST_RECORDS = 200


class Word(BaseModel):
    """A person's answer to a question, and who it is."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "deny"]
    by: str = Field(min_length=1, max_length=100, pattern=r"^[\w .@-]+$")


class Switch(BaseModel):
    """Where the kill switch shall be: thrown, nothing is done, undone or asked any more."""

    model_config = ConfigDict(extra="forbid")

    thrown: bool


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
    app.include_router(_looks(remediator, approvals), dependencies=known)
    app.include_router(_words(remediator, approvals), dependencies=known)
    return app


def _looks(remediator: Remediator, approvals: Approvals) -> APIRouter:
    router = APIRouter()

    @router.get("/state")
    def state() -> dict[str, Any]:
        return {
            "mode": remediator.policy.mode,
            "stopped": remediator.stopped,
            "kill_switch": remediator.switch_thrown,
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

    @router.get("/approvals")
    def questions() -> list[dict[str, Any]]:
        return [shown(each) for each in approvals.all()]

    @router.get("/audit")
    def audit(limit: Annotated[int, Query(ge=1, le=_MOST_RECORDS)] = 20) -> list[dict[str, Any]]:
        newest = sorted(remediator.records().values(), key=lambda each: each.at, reverse=True)[:limit]
        return [told(each) for each in newest]

    return router


def _words(remediator: Remediator, approvals: Approvals) -> APIRouter:
    router = APIRouter()

    @router.put("/kill-switch")
    def switch(wanted: Switch) -> dict[str, bool]:
        try:
            remediator.throw_switch(thrown=wanted.thrown)
        except OSError as error:
            raise HTTPException(503, f"the kill switch cannot be set: {error.strerror}") from error
        return {"stopped": remediator.stopped, "kill_switch": remediator.switch_thrown}

    @router.post("/approvals/{question_id}")
    async def answer(question_id: str, word: Word) -> dict[str, Any]:
        # on the event loop, as the remediator is: nobody else answers in between
        try:
            return shown(approvals.answer(question_id, yes=word.decision == "approve", by=word.by))
        except NoSuchQuestion as error:
            raise HTTPException(404, "there is no such question") from error
        except TooLate as error:
            raise HTTPException(409, f"too late: it is {error}") from error

    return router


def _for_everybody(app: FastAPI, metrics: Metrics) -> None:
    @app.get("/health/live")
    def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        # a policy that cannot be read, a predictor that is away: whoever asks is to be told so, and not sent away
        return {"status": "ready"}

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


def told(record: Record) -> dict[str, Any]:
    """One record of the audit for people: what, why, and what came of it; times in seconds since 1970."""
    action = Action(**record.action.model_dump()) if record.action else None
    shown = ("id", "stage", "service", "mode", "control", "cause", "reason", "approved_by", "outcome", "detail",
             "verification", "verified", "rollback", "rolled_back")  # fmt: skip
    moments = {
        "at": record.at.timestamp(),
        "began": record.began.timestamp(),
        "action": str(action) if action else None,
    }
    return {name: getattr(record, name) for name in shown} | moments


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Any:
        """The command handles signals for all of it."""
        yield


@asynccontextmanager
async def serving(app: FastAPI, port: int, host: str = LOOPBACK) -> AsyncIterator[None]:
    """The interface, inside the block."""
    server = _Server(
        uvicorn.Config(app, host=host, port=port, log_config=None, access_log=False, timeout_graceful_shutdown=2)
    )
    task = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=5)
