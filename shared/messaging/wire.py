"""What a message looks like on the wire: JSON in the body, names of subjects and headers."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

MAX_BODY_BYTES = 256 * 1024
"""Largest body, in bytes of JSON: well below the broker's own limit of 1 MiB, so that headers always fit."""

MESSAGE_ID = "Nats-Msg-Id"
"""The header by which JetStream drops what it has already stored inside its duplicate window."""

_SUBJECT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_HEADER = re.compile(r"[A-Za-z0-9_-]+")


class Unreadable(Exception):
    """A body is not a JSON object."""


def check(subject: str, headers: Mapping[str, str]) -> None:
    """Raise ValueError for a subject or a header that the broker would refuse or change."""
    if not _SUBJECT.fullmatch(subject):
        raise ValueError(f"not a subject to publish to: {subject!r}")
    for name, value in headers.items():
        if not _HEADER.fullmatch(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"not a header of printable ASCII: {name!r}")


def encode(body: Mapping[str, Any]) -> bytes:
    """The JSON of `body`. Raises ValueError when it is too large and TypeError when it is not JSON."""
    encoded = orjson.dumps(dict(body))
    if len(encoded) > MAX_BODY_BYTES:
        raise ValueError(f"a message body of {len(encoded)} bytes; the limit is {MAX_BODY_BYTES}")
    return encoded


def decode(data: bytes) -> dict[str, Any]:
    """The object in `data`. Raises `Unreadable`."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"not JSON: {error.msg} at byte {error.pos}") from error
    if not isinstance(body, dict):
        raise Unreadable(f"not a JSON object but {type(body).__name__}")
    return body


def header_text(text: str, limit: int = 300) -> str:
    """`text` fit for a header: one line of printable ASCII, cut to `limit` characters."""
    one_line = " ".join(text.split())
    ascii_only = one_line.encode("ascii", "backslashreplace").decode("ascii")
    return "".join(character if character.isprintable() else "?" for character in ascii_only)[:limit]
