"""Jaeger's query API: what Jaeger's page, Grafana's data source and people with curl ask for traces.

See https://www.jaegertracing.io/docs/latest/architecture/apis/ and jaeger/cmd/query/app/http_handler.go.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from starlette.datastructures import QueryParams

from services.control_room import jaeger
from services.control_room.searches import FOREVER_US, Search, Searches
from shared.chassis.clock import Clock

_MOST_TRACES = 1_500
_DEFAULT_TRACES = 100
_SECOND_US = 1_000_000
_DEFAULT_LOOKBACK_US = 3_600 * _SECOND_US
_DEPENDENCIES_LOOKBACK_US = 24 * 3_600 * _SECOND_US
_UNITS = {"ns": 0.001, "us": 1, "µs": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000}
_UNITS |= {"d": 24 * _UNITS["h"], "w": 168 * _UNITS["h"]}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d|w)")
_TRACE_ID = re.compile(r"[0-9a-fA-F]{1,32}")


class _Refused(Exception):
    """A parameter cannot be understood."""


def query_api(searches: Searches, clock: Clock) -> APIRouter:
    """The routes. Times are microseconds since the epoch, those of dependencies milliseconds."""
    router = APIRouter(prefix="/api", tags=["traces"])

    @router.get("/services")
    async def services() -> Response:
        """The services that have traces."""
        return _answer(jaeger.answer(await searches.services()))

    @router.get("/services/{service}/operations")
    async def operations_of(service: str) -> Response:
        """The names of a service's operations."""
        found = await searches.operations(service)
        return _answer(jaeger.answer(list(dict.fromkeys(each["name"] for each in found))))

    @router.get("/operations")
    async def operations(request: Request) -> Response:
        """A service's operations with their kinds: `service`, `spanKind`."""
        service = request.query_params.get("service", "")
        if not service:
            return _refusal(400, "parameter 'service' is required")
        return _answer(jaeger.answer(await searches.operations(service, request.query_params.get("spanKind", ""))))

    @router.get("/traces")
    async def find(request: Request) -> Response:
        """Search: `service operation tags tag limit start end minDuration maxDuration lookback`, or `traceID`s."""
        parameters = request.query_params
        try:
            ids = [_trace_id(each) for each in parameters.getlist("traceID")]
            search = None if ids else _search(parameters, int(clock.now() * _SECOND_US))
        except _Refused as refused:
            return _refusal(400, str(refused))
        found = await searches.find(search) if search else await searches.traces(ids[:_MOST_TRACES])
        return _answer(jaeger.answer(found))

    @router.get("/traces/{trace_id}")
    async def one(trace_id: str) -> Response:
        """One trace."""
        try:
            found = await searches.traces([_trace_id(trace_id)])
        except _Refused as refused:
            return _refusal(400, str(refused))
        return _answer(jaeger.answer(found)) if found else _refusal(404, "trace not found")

    _add_dependencies(router, searches, clock)
    return router


def _add_dependencies(router: APIRouter, searches: Searches, clock: Clock) -> None:
    @router.get("/dependencies")
    async def dependencies(request: Request) -> Response:
        """Who calls whom: `endTs` and `lookback` in milliseconds."""
        parameters = request.query_params
        try:
            end = _integer(parameters, "endTs", int(clock.now() * 1_000)) * 1_000
            lookback = _integer(parameters, "lookback", _DEPENDENCIES_LOOKBACK_US // 1_000) * 1_000
        except _Refused as refused:
            return _refusal(400, str(refused))
        return _answer(jaeger.answer(await searches.dependencies(end - lookback, end)))


def _search(parameters: QueryParams, now_us: int) -> Search:
    service = parameters.get("service", "")
    if not service:
        raise _Refused("parameter 'service' is required")
    end = _integer(parameters, "end", now_us)
    lookback = parameters.get("lookback", "")
    known = bool(_DURATION.fullmatch(lookback))  # Jaeger's page sends `custom` beside start and end
    span_us = _duration(lookback, "lookback") if known else _DEFAULT_LOOKBACK_US
    limit = _integer(parameters, "limit", _DEFAULT_TRACES)
    if limit < 1:
        raise _Refused("unable to parse param 'limit': must be positive")
    return Search(
        service=service,
        operation=parameters.get("operation", ""),
        tags=_tags(parameters),
        start_us=_integer(parameters, "start", end - span_us),
        end_us=end,
        min_duration_us=_duration(parameters.get("minDuration", ""), "minDuration"),
        max_duration_us=_duration(parameters.get("maxDuration", ""), "maxDuration") or FOREVER_US,
        limit=min(limit, _MOST_TRACES),
    )


def _tags(parameters: QueryParams) -> Mapping[str, str]:
    tags: dict[str, str] = {}
    for pair in parameters.getlist("tag"):
        name, colon, value = pair.partition(":")
        if not colon:
            raise _Refused(f"malformed 'tag' parameter, expecting key:value, received: {pair}")
        tags[name] = value
    for text in parameters.getlist("tags"):
        try:
            listed = orjson.loads(text)
        except orjson.JSONDecodeError:
            listed = None
        if not isinstance(listed, dict) or not all(isinstance(value, str) for value in listed.values()):
            raise _Refused("malformed 'tags' parameter, cannot unmarshal JSON: expecting an object of strings")
        tags |= listed
    return tags


def _integer(parameters: QueryParams, name: str, default: int) -> int:
    text = parameters.get(name, "")
    if not text:
        return default
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _Refused(f"unable to parse param '{name}': {text[:40]!r} is no number")
    return int(text)


def _duration(text: str, name: str) -> int:
    if not text:
        return 0
    parts = _DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text or len(text) > 40:
        raise _Refused(f"unable to parse param '{name}': {text[:40]!r} is no duration such as 1.5s")
    return int(sum(float(number) * _UNITS[unit] for number, unit in parts))


def _trace_id(text: str) -> str:
    if not _TRACE_ID.fullmatch(text):
        raise _Refused(f"trace ids are up to 32 hexadecimal digits, not {text[:40]!r}")
    return text.lower().zfill(32)


def _answer(body: dict[str, Any]) -> Response:
    return Response(orjson.dumps(body), media_type="application/json")


def _refusal(status: int, message: str) -> Response:
    return Response(orjson.dumps(jaeger.refusal(status, message)), status, media_type="application/json")
