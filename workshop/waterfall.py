"""A trace as lines of text: who called whom, when it began, and how long it took."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_WIDTH = 58


def waterfall(trace: Mapping[str, Any]) -> Iterator[str]:
    """A line a span of a trace as Jaeger's API has it: indented below its caller, times in milliseconds."""
    spans: Sequence[Mapping[str, Any]] = sorted(trace["spans"], key=lambda span: span["startTime"])
    known = {span["spanID"] for span in spans}
    below: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        below.setdefault(_caller(span, known), []).append(span)
    first = spans[0]["startTime"] if spans else 0
    yield f"{'':{_WIDTH}} {'at':>8} {'took':>8}  ms"
    yield from _lines("", 0, below, trace["processes"], first)


def _lines(
    caller: str, depth: int, below: Mapping[str, Sequence[Mapping[str, Any]]], processes: Mapping[str, Any], first: int
) -> Iterator[str]:
    for span in below.get(caller, ()):
        name = f"{'  ' * depth}{processes[span['processID']]['serviceName']}: {span['operationName']}"
        at, took = (span["startTime"] - first) / 1000, span["duration"] / 1000
        yield f"{name[:_WIDTH]:{_WIDTH}} {at:8.1f} {took:8.1f}"
        yield from _lines(span["spanID"], depth + 1, below, processes, first)


def _caller(span: Mapping[str, Any], known: set[str]) -> str:
    """Empty for the top, and for a span whose caller was not recorded."""
    callers = [each["spanID"] for each in span["references"] if each["spanID"] in known]
    return callers[0] if callers else ""
