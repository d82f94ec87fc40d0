"""The routes that show."""

import gzip
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath
from fastapi.responses import RedirectResponse

from services.control_room.page.gate import is_operator
from services.control_room.page.room import Room
from services.control_room.page.sources.dashboards import RANGES
from services.control_room.page.web import Away
from shared.chassis.problems import Problem

STATIC = Path(__file__).with_name("static")
_LONGEST_WAIT = 4.0
_FRESH = {"Cache-Control": "no-store"}

Hexadecimal = Annotated[str, InPath(pattern=r"^[0-9a-fA-F]{1,32}$")]


def reading(room: Room) -> APIRouter:
    """What anybody on this host may see; levers are only shown to operators."""
    router = APIRouter(tags=["page"])
    _add_files(router)
    _add_looks(router, room)

    @router.get("/view")
    async def view(request: Request, since: Annotated[int, Query(ge=0, le=2**53)] = 0) -> Response:
        """The platform as it is, looked at once a second; 204 when that is the view `since`."""
        operator = is_operator(request)
        found = await room.sampler.view(since, operator=operator, seconds=_LONGEST_WAIT)
        if found is None:
            return Response(status_code=204, headers=_FRESH)
        body = (operator and found.operators) or found.public
        return Response(body, media_type="application/json", headers=_FRESH | {"Content-Encoding": "gzip"})

    @router.get("/facts")
    async def facts(request: Request) -> Response:
        """What does not change: links, drills, scenarios, dashboards; and whether the caller is logged in."""
        told = room.facts() | {"operator": is_operator(request), "missing": {}}
        for name, read in (("scenarios", room.experiments.scenarios), ("dashboards", room.dashboards.names)):
            try:
                told[name] = await read()
            except Away as away:
                told[name], told["missing"][name] = [], str(away)
        return _json(told)

    return router


def _add_looks(router: APIRouter, room: Room) -> None:
    @router.get("/orders/{order_id}")
    async def order(order_id: Annotated[str, InPath(pattern=r"^[A-Za-z0-9_-]{1,40}$")]) -> Response:
        """An order and its steps."""
        try:
            return _json(await room.orders.one(order_id))
        except Away as away:
            raise _missing(away) from None

    @router.get("/traces")
    async def traces(
        failed: Annotated[bool, Query()] = False, slower_ms: Annotated[int, Query(ge=0, le=60_000)] = 0
    ) -> Response:
        """The newest traces, a line each."""
        try:
            return _json(await room.traces.recent(failed=failed, slower_ms=slower_ms))
        except Away as away:
            raise _missing(away) from None

    @router.get("/traces/{trace_id}")
    async def trace(trace_id: Hexadecimal) -> Response:
        """One trace as a waterfall."""
        try:
            return _json(await room.traces.one(trace_id))
        except Away as away:
            raise _missing(away) from None

    @router.get("/dashboards/{name}")
    async def dashboard(
        request: Request,
        name: Annotated[str, InPath(pattern=r"^[a-z0-9-]{1,40}$")],
        seconds: Annotated[int, Query()] = 900,
    ) -> Response:
        """A dashboard with its data; `var-<name>` chooses a variable's value, as in Grafana."""
        chosen = {key[4:44]: value[:100] for key, value in request.query_params.items() if key.startswith("var-")}
        try:
            return _json(await room.dashboards.draw(name, seconds if seconds in RANGES else 900, chosen))
        except Away as away:
            raise _missing(away) from None
        except KeyError:
            raise Problem(404, "no-such-dashboard", "No such dashboard") from None


def _add_files(router: APIRouter) -> None:
    for path in sorted(STATIC.iterdir()):
        body = path.read_bytes()
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        answer = (gzip.compress(body, 9), kind, headers)
        where = "/" if path.name == "index.html" else f"/static/{path.name}"
        router.add_api_route(where, _file(*answer), include_in_schema=False)

    @router.get("/d/{name}", include_in_schema=False)
    async def dashboard_link(name: Annotated[str, InPath(pattern=r"^[a-z0-9-]{1,40}$")]) -> Response:
        """Grafana's address of a dashboard, where alerts point to."""
        return RedirectResponse(f"/#dashboards/{name}")


def _file(body: bytes, kind: str, headers: dict[str, str]) -> Callable[[Request], Awaitable[Response]]:
    async def send(request: Request) -> Response:
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers={"ETag": headers["ETag"]})
        return Response(body, media_type=kind, headers=headers)

    return send


def _json(told: object) -> Response:
    return Response(orjson.dumps(told), media_type="application/json", headers=_FRESH)


def _missing(away: Away) -> Problem:
    return Problem(503, "away", "Not to be had", str(away))
