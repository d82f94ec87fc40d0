"""Logging in and out, and the alerts that come in."""

import hmac
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.control_room.page.gate import CODE_SECONDS, Sessions, cookie_name, from_our_page
from services.control_room.page.room import Room
from shared.chassis import auth
from shared.chassis.problems import Problem

_MOST_ALERTS = 50


class Login(BaseModel):
    """The admin token, or a code from the link that `make up` has printed."""

    model_config = ConfigDict(extra="forbid")

    token: str = Field(default="", max_length=200)
    code: str = Field(default="", max_length=100)


def entrance(room: Room, sessions: Sessions) -> APIRouter:
    """`/session`, and Alertmanager's webhook."""
    router = APIRouter(tags=["session"])

    @router.post("/session", status_code=204, dependencies=[Depends(from_our_page)])
    async def log_in(request: Request, login: Login) -> Response:
        """Open a session."""
        if not (sessions.redeem(login.code) if login.code else sessions.is_token(login.token)):
            what = "this link was used already, or is too old" if login.code else "that is not the admin token"
            raise Problem(401, "unauthorised", "Not logged in", what)
        answer = Response(status_code=204)
        answer.set_cookie(
            cookie_name(request), sessions.open(), max_age=sessions.seconds, httponly=True, samesite="strict"
        )
        return answer

    @router.delete("/session", status_code=204, dependencies=[Depends(from_our_page)])
    async def log_out(request: Request) -> Response:
        """End the session."""
        sessions.close(request.cookies.get(cookie_name(request), ""))
        answer = Response(status_code=204)
        answer.delete_cookie(cookie_name(request), httponly=True, samesite="strict")
        return answer

    @router.post("/session/links", dependencies=[Depends(auth.operator)])
    async def make_link() -> dict[str, Any]:
        """A code for one login, for whoever holds the admin token: the page's address with `#login=<code>`."""
        return {"code": sessions.make_code(), "seconds": CODE_SECONDS}

    @router.post("/alerts", status_code=204)
    async def alerts(request: Request, authorization: Annotated[str, Header(include_in_schema=False)] = "") -> Response:
        """Alertmanager's webhook: each alert becomes a line of the log."""
        expected = f"Bearer {room.settings.alert_token.get_secret_value()}"
        if not hmac.compare_digest(authorization.encode("latin-1", "replace"), expected.encode()):
            raise Problem(401, "unauthorised", "Not authorised", headers={"WWW-Authenticate": "Bearer"})
        body = await request.json()
        listed = body.get("alerts", []) if isinstance(body, dict) else []
        lines = [_line(each) for each in listed[:_MOST_ALERTS] if isinstance(each, dict)]
        await room.log.write("alert", *lines)
        room.sampler.hurry("alerts", "log")
        return Response(status_code=204)

    return router


def _line(alert: dict[str, Any]) -> str:
    labels, notes = alert.get("labels") or {}, alert.get("annotations") or {}
    parts = (alert.get("status"), labels.get("alertname"), labels.get("service"), notes.get("summary"))
    return " ".join(str(part) for part in parts if part)
