"""Traces, from whoever speaks Jaeger's query API: the receiver beside this page, or Jaeger."""

from collections.abc import Mapping
from typing import Any

from services.control_room.page.web import Away, Web

_SHOWN = 25
_MOST_SPANS = 400
_TOLD_TAGS = ("http.response.status_code", "http.route", "url.path", "db.system", "experiment.id", "order.id",
              "exception.type", "otel.status_description", "error.type")  # fmt: skip


class Traces:
    """Asks for traces when somebody wants to see some."""

    def __init__(self, web: Web, url: str) -> None:
        self._web, self._url = web, url

    async def recent(self, *, failed: bool, slower_ms: int) -> list[dict[str, Any]]:
        """The newest traces of orders, one line each. Raises `Away`."""
        wanted = {"service": "order", "operation": "POST /orders", "limit": str(_SHOWN), "lookback": "1h"}
        if failed:
            wanted["tags"] = '{"error":"true"}'
            del wanted["operation"]
        if slower_ms:
            wanted["minDuration"] = f"{slower_ms}ms"
        found = await self._ask("/api/traces", wanted)
        lines = [line(trace) for trace in found if trace["spans"]]
        return sorted(lines, key=lambda each: -int(each["start"]))

    async def one(self, trace_id: str) -> dict[str, Any]:
        """A trace as a waterfall. Raises `Away`."""
        found = await self._ask(f"/api/traces/{trace_id}", None)
        if not found:
            raise Away("that trace is not kept (any more)")
        return waterfall(found[0])

    async def _ask(self, path: str, params: dict[str, str] | None) -> list[dict[str, Any]]:
        if not self._url:
            raise Away("nobody takes traces in (traces are switched off)")
        status, body = await self._web.ask("GET", f"{self._url}{path}", params=params, seconds=5.0)
        if status == 404:
            return []
        if status != 200 or not isinstance(body, dict):
            raise Away(f"the trace store answers HTTP {status}")
        return body["data"] or []


def line(trace: Mapping[str, Any]) -> dict[str, Any]:
    """A trace in one line; times in microseconds."""
    spans = trace["spans"]
    start = min(span["startTime"] for span in spans)
    ids = {span["spanID"] for span in spans}
    root = next((span for span in spans if not _parent(span) or _parent(span) not in ids), spans[0])
    services = {process["serviceName"] for process in trace["processes"].values()}
    return {
        "id": trace["traceID"],
        "name": root["operationName"],
        "start": start,
        "duration": root["duration"],
        "spans": len(spans),
        "errors": sum(_tag(span, "error") is True for span in spans),
        "events": sum(len(span["logs"]) for span in spans),
        "services": sorted(services),
        "status": _tag(root, "http.response.status_code"),
    }


def waterfall(trace: Mapping[str, Any]) -> dict[str, Any]:
    """Spans in the order of a tree, each with its depth, offset and events; times in microseconds."""
    spans = sorted(trace["spans"], key=lambda span: int(span["startTime"]))[:_MOST_SPANS]
    ids = {span["spanID"] for span in spans}
    children: dict[str, list[Mapping[str, Any]]] = {}
    for span in spans:
        parent = _parent(span)
        children.setdefault(parent if parent in ids else "", []).append(span)
    start = spans[0]["startTime"]
    rows: list[dict[str, Any]] = []
    waiting = [(span, 0) for span in reversed(children.get("", []))]
    while waiting:
        span, depth = waiting.pop()
        rows.append(_row(span, depth, start, trace["processes"]))
        waiting += [(child, depth + 1) for child in reversed(children.get(span["spanID"], []))]
    end = max(row["offset"] + row["duration"] for row in rows)
    return {**line(trace), "total": end, "left_out": len(trace["spans"]) - len(rows), "rows": rows}


def _row(span: Mapping[str, Any], depth: int, start: int, processes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": span["spanID"],
        "name": span["operationName"],
        "service": processes[span["processID"]]["serviceName"],
        "depth": depth,
        "offset": span["startTime"] - start,
        "duration": span["duration"],
        "error": _tag(span, "error") is True,
        "tags": {tag["key"]: tag["value"] for tag in span["tags"] if tag["key"] in _TOLD_TAGS},
        "events": [
            {"offset": log["timestamp"] - start, **{field["key"]: field["value"] for field in log["fields"]}}
            for log in span["logs"]
        ],
    }


def _parent(span: Mapping[str, Any]) -> str:
    return next((str(each["spanID"]) for each in span["references"] if each["refType"] == "CHILD_OF"), "")


def _tag(span: Mapping[str, Any], name: str) -> Any:
    return next((tag["value"] for tag in span["tags"] if tag["key"] == name), None)
