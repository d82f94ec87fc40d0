"""What Envoy writes: its own answers as problem details (RFC 9457), and one line of JSON a request."""

from typing import Any

_TRACE_ID = "%DYNAMIC_METADATA(holdfast:trace_id)%"

# Each status that Envoy itself answers with: slug, title, detail. The services use the same slugs for the same things.
_KNOWN = {
    400: ("bad-request", "Bad Request", "the request cannot be read"),
    404: ("not-found", "Not Found", "nothing is served at this address"),
    408: ("request-timeout", "Request too slow", "the request did not arrive in time"),
    413: ("body-too-large", "Body too large", "the request body is larger than what is taken here"),
    429: ("too-many-requests", "Too many requests", "the edge takes no more for the moment"),
    431: ("headers-too-large", "Headers too large", "the request headers are larger than what is taken here"),
    503: ("upstream-unavailable", "Service unavailable", "no replica of the service could take the request"),
    504: ("deadline-exceeded", "Out of time", "no answer came within the time limit of the route"),
}
_RETRY_AFTER = (429, 503)


def problems() -> dict[str, Any]:
    """Local replies for the template: one mapper a status, and what holds for any other."""
    return {
        "other": _body("about:blank", "Refused on the way", "the proxy has answered in place of the service"),
        "by_status": [_mapper(status) for status in _KNOWN],
        # Inside the mesh the caller's own policy decides how long to wait; a customer has to be told.
        "by_status_with_retry_after": [
            _mapper(status) | (_retry_after() if status in _RETRY_AFTER else {}) for status in _KNOWN
        ],
    }


def access_log(node: str) -> dict[str, str]:
    """The members of one line, named as in the services' logs; its event is `hop`, for `request` is what they write."""
    return {
        "timestamp": "%START_TIME(%Y-%m-%dT%H:%M:%S.%6fZ)%",
        "level": "info",
        "event": "hop",
        "service": "envoy",
        "instance": node,
        "listener": "%FILTER_CHAIN_NAME%",
        "route": "%ROUTE_NAME%",
        "method": "%REQ(:METHOD)%",
        "path": "%PATH(NQ)%",
        "status": "%RESPONSE_CODE%",
        "flags": "%RESPONSE_FLAGS%",
        "why": "%RESPONSE_CODE_DETAILS%",
        "ms": "%DURATION%",
        "upstream_ms": "%RESPONSE_DURATION%",
        "tries": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "cluster": "%UPSTREAM_CLUSTER%",
        "upstream": "%UPSTREAM_HOST%",
        "received": "%BYTES_RECEIVED%",
        "sent": "%BYTES_SENT%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS%",
        "request_id": "%REQ(X-REQUEST-ID)%",
        # A customer's request has no trace yet: the service that begins one names it in its answer.
        "trace_id": '%COALESCE({"operators": [{"command": "DYNAMIC_METADATA", "param": "holdfast:trace_id"}, '
        '{"command": "RESP", "param": "x-trace-id"}]})%',
    }


def _mapper(status: int) -> dict[str, Any]:
    slug, title, detail = _KNOWN[status]
    comparison = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"replies.{status}"}}
    return {
        "filter": {"status_code_filter": {"comparison": comparison}},
        "body_format_override": _body(f"/problems/{slug}", title, detail),
    }


def _body(kind: str, title: str, detail: str) -> dict[str, Any]:
    return {
        "content_type": "application/problem+json",
        "json_format": {
            "type": kind,
            "title": title,
            "status": "%RESPONSE_CODE%",
            "detail": detail,
            "instance": "%PATH(NQ)%",
            "trace_id": _TRACE_ID,
            "request_id": "%REQ(X-REQUEST-ID)%",
            "flags": "%RESPONSE_FLAGS%",
        },
        "omit_empty_values": True,
    }


def _retry_after() -> dict[str, Any]:
    return {"headers_to_add": [{"header": {"key": "retry-after", "value": "1"}, "append_action": "ADD_IF_ABSENT"}]}
