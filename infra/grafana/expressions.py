"""PromQL that several dashboards use. `where` is what stands inside a selector's braces."""

from infra.grafana.panels import GREEN, GREY, ORANGE, PURPLE, RED, YELLOW, Query, Words
from infra.grafana.sources import RATE

BREAKER_STATES: Words = {
    0: ("closed", GREEN),
    1: ("half open", YELLOW),
    2: ("open", RED),
    3: ("forced open", PURPLE),
    4: ("not in force", GREY),
}

POSTED = 'service="order",handler="/orders",method="POST"'
"""The requests that place an order."""

TRACES = "Dots on the lines are single requests: click one for its trace."


def requests(where: str = "", by: str = "service") -> str:
    """Requests a second."""
    return f"sum by ({by}) (rate(http_requests_total{{{where}}}[{RATE}]))"


def errors(where: str = "", by: str = "service") -> str:
    """The share of requests that ended in a server error; 0 for who never failed, nothing for who was not asked."""
    failed = requests(f'{where}{"," if where else ""}status=~"5.."', by)
    asked = requests(where, by)
    return f"({failed} or 0 * {asked}) / ({asked} > 0)"


def quantile(share: float, where: str = "", by: str = "service", metric: str = "http_request_duration_seconds") -> str:
    """The latency that `share` of the requests stay below, in seconds."""
    labels = f"{by}, le" if by else "le"
    return f"histogram_quantile({share:g}, sum by ({labels}) (rate({metric}_bucket{{{where}}}[{RATE}])))"


def latencies(where: str, by: str = "") -> tuple[Query, Query, Query]:
    """Median, p95 and p99 over one selector, with exemplars on the last."""
    return (
        Query(quantile(0.5, where, by), "p50"),
        Query(quantile(0.95, where, by), "p95"),
        Query(quantile(0.99, where, by), "p99", exemplars=True),
    )


def breaker_state(where: str = "", by: str = "service, name") -> str:
    """The state of breakers as a number of `BREAKER_STATES`; of several, the worst."""
    metric, rest = "resilience4j_circuitbreaker_state", f",{where}" if where else ""
    weighed = (
        f'{metric}{{state="closed"{rest}}} * 0',
        f'{metric}{{state="half_open"{rest}}}',
        f'{metric}{{state="open"{rest}}} * 2',
        f'{metric}{{state="forced_open"{rest}}} * 3',
        f'{metric}{{state=~"disabled|metrics_only"{rest}}} * 4',
    )
    return f"max by ({by}) ({' or '.join(weighed)})"


def amplification(where: str = "", by: str = "service, name") -> str:
    """Attempts for each call; 1 when nothing is retried."""
    calls = f"sum by ({by}) (rate(resilience4j_retry_calls_total{{{where}}}[{RATE}]))"
    more = f"sum by ({by}) (rate(resilience_retry_attempts_total{{{where}}}[{RATE}]))"
    return f"1 + {more} / ({calls} > 0)"


def process_cpu(where: str = 'job="services"') -> str:
    """Cores that a process uses."""
    return f"rate(process_cpu_seconds_total{{{where}}}[{RATE}])"


LATENCY_STEPS = ((0.5, YELLOW), (1.0, RED))
"""The objective is one second."""

ERROR_STEPS = ((0.001, ORANGE), (0.01, RED))
"""The objective is a tenth of a per cent."""
