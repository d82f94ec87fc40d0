"""What the callers of a service saw, at the mesh's listener for it: of it are made labels and verdicts, no features."""

_SEEN = 'envoy_http_downstream_rq_xx{envoy_http_conn_manager_prefix="$listener"'
_TIMED = 'envoy_http_downstream_rq_time_bucket{envoy_http_conn_manager_prefix="$listener"}'

OUTCOMES = {
    "seen_error_ratio": (
        f'(sum(rate({_SEEN},envoy_response_code_class="5"}}[$window])) or vector(0))'
        f" / (sum(rate({_SEEN}}}[$window])) > 0)"
    ),
    "seen_p99": f"histogram_quantile(0.99, sum by (le) (rate({_TIMED}[$window]))) / 1000",
}

LISTENERS = {"order": "edge", "payment": "payment", "inventory": "inventory"}


def seen(service: str) -> dict[str, str]:
    """The queries for one service, by name; `$window` is still to be filled in."""
    return {name: query.replace("$listener", LISTENERS[service]) for name, query in OUTCOMES.items()}
