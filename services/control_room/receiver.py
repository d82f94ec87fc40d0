"""The OTLP/HTTP receiver: `POST /v1/traces`, protobuf or JSON, gzip or not, with the sender's token.

See https://opentelemetry.io/docs/specs/otlp/#otlphttp.
"""

import asyncio
import hmac
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from pydantic import SecretStr

from services.control_room import otlp_json, otlp_protobuf
from services.control_room.arrivals import Arrival
from services.control_room.intake import Intake
from shared.chassis.problems import Problem, responses

TRACES_PATH = "/v1/traces"

_Reader = Callable[[bytes], Iterator[Arrival | None]]

_JSON, _PROTOBUF = "application/json", "application/x-protobuf"
_READERS: Mapping[str, _Reader] = {_JSON: otlp_json.read_request, _PROTOBUF: otlp_protobuf.read_request}
_GZIP_WINDOW = 31  # zlib's number for the gzip format with its largest window
_READ_IN_THREAD = 65_536
"""Larger requests are read in a thread, so that the loop goes on serving."""


def receiver(intake: Intake, senders: Mapping[str, SecretStr], max_bytes: int) -> APIRouter:
    """The route, for these senders; `max_bytes` bounds a request as it is sent and as it is unpacked."""
    router = APIRouter()
    tokens = {name: token.get_secret_value().encode() for name, token in senders.items()}
    one_at_a_time = asyncio.Semaphore(1)

    async def sender(authorization: Annotated[str | None, Header(include_in_schema=False)] = None) -> str:
        scheme, _, presented = (authorization or "").partition(" ")
        if scheme.lower() == "bearer":
            given = presented.strip().encode("latin-1", "replace")
            for name, token in tokens.items():
                if hmac.compare_digest(given, token):
                    return name
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "unauthorised", "Not authorised", "a sender's token is needed", headers=headers)

    @router.post(
        TRACES_PATH,
        tags=["traces"],
        responses=responses((401, "No sender's token"), (415, "Unknown encoding"), (503, "The queue is full")),
    )
    async def receive(request: Request, name: Annotated[str, Depends(sender)]) -> Response:
        """Take spans in. An answer of 200 may tell in `partialSuccess` that some were malformed."""
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        read = _READERS.get(media_type)
        if read is None:
            raise Problem(415, "unsupported-media-type", "Unknown encoding", f"send {_PROTOBUF} or {_JSON}")
        body = await request.body()
        size = len(body)
        async with one_at_a_time:  # what is unpacked takes many times the memory of what was sent
            encoding = request.headers.get("content-encoding", "identity").strip().lower()
            if size > _READ_IN_THREAD or encoding != "identity":
                arrivals, malformed, size = await asyncio.to_thread(_read, read, body, encoding, max_bytes)
            else:
                arrivals, malformed, size = _read(read, body, encoding, max_bytes)
            if not intake.offer(name, arrivals, malformed, size):
                raise Problem(503, "queue-full", "Too many spans", "try again later", headers={"Retry-After": "1"})
        return _accepted(media_type, malformed)

    return router


def _read(read: _Reader, body: bytes, encoding: str, max_bytes: int) -> tuple[list[Arrival], int, int]:
    unpacked = _unpacked(body, encoding, max_bytes)
    try:
        found = list(read(unpacked))
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        raise Problem(400, "malformed-traces", "Not OTLP", f"{type(error).__name__}: {error}"[:200]) from None
    arrivals = [arrival for arrival in found if arrival is not None]
    return arrivals, len(found) - len(arrivals), len(unpacked)


def _unpacked(body: bytes, encoding: str, max_bytes: int) -> bytes:
    if encoding in ("identity", ""):
        return body
    if encoding != "gzip":
        raise Problem(415, "unsupported-encoding", "Unknown content encoding", "send gzip or none")
    unpacker = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise Problem(400, "malformed-gzip", "Not gzip", str(error)) from None
    if len(unpacked) > max_bytes:
        raise Problem(413, "body-too-large", "Body too large", f"at most {max_bytes} bytes are taken, unpacked")
    if not unpacker.eof:
        raise Problem(400, "malformed-gzip", "Not gzip", "it ends too early")
    return unpacked


def _accepted(media_type: str, malformed: int) -> Response:
    message = "malformed spans" if malformed else ""
    if media_type == _JSON:
        partial = {"partialSuccess": {"rejectedSpans": str(malformed), "errorMessage": message}}
        return Response(orjson.dumps(partial if malformed else {}), media_type=_JSON)
    answer = ExportTraceServiceResponse()
    if malformed:
        answer.partial_success.rejected_spans = malformed
        answer.partial_success.error_message = message
    return Response(answer.SerializeToString(), media_type=_PROTOBUF)
