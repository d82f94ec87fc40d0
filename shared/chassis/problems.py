"""Errors that callers see: RFC 9457 problem details, everywhere the same shape."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from opentelemetry import trace
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"


class FieldError(BaseModel):
    """One thing wrong with the input: which field (`items[1].quantity`), and why."""

    field: str
    detail: str


class ProblemDetails(BaseModel):
    """The body of every error answer (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    trace_id: str = ""
    errors: list[FieldError] = []


class Problem(HTTPException):
    """An error answer. Raise it anywhere below a route.

    `slug` names the kind of problem for programs (`/problems/<slug>`), `detail` explains this case to a person, and
    `extensions` are further members of the body.
    """

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str = "",
        *,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(status, detail or title, dict(headers or {}))
        self.slug = slug
        self.title = title
        self.explanation = detail
        self.errors = errors
        self.extensions = extensions

    def response(self, path: str) -> Response:
        """The answer to send, with the trace id of the request under way."""
        body: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status_code,
            "detail": self.explanation,
            "instance": _printable(path),
            "trace_id": trace_id(),
            **self.extensions,
        }
        if self.errors:
            body["errors"] = [error.model_dump() for error in self.errors]
        return Response(_json(body), self.status_code, self.headers, MEDIA_TYPE)


def trace_id() -> str:
    """The current trace id, 32 hexadecimal digits, or nothing outside a trace."""
    identifier = trace.get_current_span().get_span_context().trace_id
    return f"{identifier:032x}" if identifier else ""


def invalid(field: str, detail: str, *, slug: str = "invalid-input") -> Problem:
    """A 422 for one field."""
    return Problem(422, slug, "Invalid input", errors=[FieldError(field=field, detail=detail)])


def _details_schema() -> dict[str, Any]:
    # written out: a reference would point into the schema's own definitions, which an OpenAPI document does not have
    schema = ProblemDetails.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["FieldError"]
    return schema


def responses(*problems: tuple[int, str]) -> dict[int | str, dict[str, Any]]:
    """What a route may answer beside success, for its OpenAPI description: `(status, when)` pairs."""
    content = {MEDIA_TYPE: {"schema": _details_schema()}}
    return {status: {"description": when, "content": content} for status, when in problems}


COMMON = responses(
    (400, "The request cannot be read"),
    (404, "There is no such thing"),
    (405, "The resource does not take this method"),
    (408, "The request did not arrive in time"),
    (413, "The request body is too large"),
    (422, "A field is missing or wrong; `errors` names it"),
    (429, "Too many requests; see Retry-After"),
    (500, "A defect of ours"),
    (503, "Too much load, or a part that is needed is away; see Retry-After"),
    (504, "The time limit of the request has passed"),
)


async def answer_problem(request: Request, error: Exception) -> Response:
    """Exception handler for `Problem` and for what the framework itself refuses."""
    if isinstance(error, Problem):
        return error.response(request.scope["path"])
    if isinstance(error, HTTPException):
        known = error.status_code in HTTPStatus.__members__.values()
        title = HTTPStatus(error.status_code).phrase if known else "Error"
        slug, detail = title.lower().replace(" ", "-"), "" if error.detail == title else str(error.detail)
        return Problem(error.status_code, slug, title, detail, headers=error.headers).response(request.scope["path"])
    raise error


async def answer_invalid(request: Request, error: Exception) -> Response:
    """Exception handler for input that does not fit the models. The rejected values are never echoed."""
    if not isinstance(error, RequestValidationError):
        raise error
    errors = [FieldError(field=_field(e["loc"]), detail=_printable(str(e["msg"]))) for e in error.errors()[:20]]
    return Problem(422, "invalid-input", "Invalid input", errors=errors).response(request.scope["path"])


def _field(location: Sequence[Any]) -> str:
    source, *path = location
    if source == "body" and (not path or (len(path) == 1 and isinstance(path[0], int))):
        return "body"  # not JSON at all: the position says nothing about a field
    name = ""
    for part in path:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    return _printable(name or str(source))


def _printable(text: str) -> str:
    return text[:200].encode("utf-8", "replace").decode()


def _json(body: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # half of a surrogate pair, or a number beyond 64 bits, that came with the request
        return json.dumps(body, default=str).encode("ascii")
