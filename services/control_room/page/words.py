"""The routes by which an operator answers what acts on predictions: approvals, and its kill switch."""

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict

from services.control_room.page.room import Room
from services.control_room.page.sources.foresight import Refused
from services.control_room.page.web import Away
from shared.chassis.problems import Problem

Question = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_PASSED_ON = (404, 409)


class WordRequest(BaseModel):
    """Yes or no."""

    model_config = ConfigDict(extra="forbid")

    decision: Literal["approve", "deny"]


class SwitchRequest(BaseModel):
    """Where the kill switch shall be."""

    model_config = ConfigDict(extra="forbid")

    thrown: bool


def add_words(router: APIRouter, room: Room) -> None:
    """Both routes."""

    @router.post("/approvals/{question}")
    async def answer(question: Question, word: WordRequest) -> dict[str, Any]:
        """Approve or refuse an action that waits for a person."""
        told = await _said(room.remediator.answer(question, word.decision))
        await _done(room, f"{'approved' if word.decision == 'approve' else 'refused'}: {told.get('action')}")
        return told

    @router.put("/kill-switch")
    async def switch(wanted: SwitchRequest) -> dict[str, Any]:
        """Throw the remediation's kill switch, or take it back."""
        told = await _said(room.remediator.throw(thrown=wanted.thrown))
        await _done(room, f"kill switch of remediation: {'thrown' if wanted.thrown else 'taken back'}")
        return told


async def _said(word: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await word
    except Away as away:
        raise Problem(503, "away", "Not to be had", str(away)) from None
    except Refused as refused:
        status = refused.status if refused.status in _PASSED_ON else 502
        raise Problem(status, "refused", "It was refused", str(refused)) from None


async def _done(room: Room, deed: str) -> None:
    await room.log.note(deed)
    room.sampler.hurry("remediation", "log")
