"""Overview: is it well, and if not, where?"""

from infra.grafana import topology
from infra.grafana.expressions import (
    BREAKER_STATES,
    ERROR_STEPS,
    LATENCY_STEPS,
    POSTED,
    TRACES,
    breaker_state,
    errors,
    process_cpu,
    quantile,
    requests,
)
from infra.grafana.pages import Page, Section
from infra.grafana.panels import (
    GREEN,
    ORANGE,
    RED,
    YELLOW,
    About,
    Column,
    Query,
    grid,
    lines,
    number,
    states,
    zero,
)

_NOW = Section(
    "Now",
    (
        number(
            About(
                "Order availability",
                "Share of the requests for orders in the last five minutes that were answered without a server error.",
                "percentunit",
            ),
            Query('1 - slo:bad_requests:ratio_rate5m{slo="order-availability"}', "availability"),
            width=3,
            steps=((0, RED), (0.99, ORANGE), (0.999, GREEN)),
        ),
        number(
            About("Orders, p99", "99 % of the orders are answered within this time.", "s"),
            Query(quantile(0.99, POSTED, by=""), "p99"),
            width=3,
            steps=LATENCY_STEPS,
        ),
        number(
            About("Error budget left", "The smallest of all objectives' budgets, over 30 days.", "percentunit"),
            Query("min(slo:error_budget:left_ratio)", "left"),
            width=3,
            steps=((-1e9, RED), (0, ORANGE), (0.25, GREEN)),
        ),
        number(
            About("Alerts", "Alerts that fire now.", "none"),
            Query(zero('count(ALERTS{alertstate="firing"})'), "firing"),
            width=3,
            steps=((1, RED),),
        ),
        number(
            About(
                "Replicas down",
                "Processes that should run and do not answer the scrape.",
                "none",
                alerts=("ServiceGone",),
            ),
            Query(zero('count(up{job="services"} == 0)'), "down"),
            width=3,
            steps=((1, RED),),
        ),
        number(
            About("Breakers not closed", "Circuit breakers that refuse or try calls, over all replicas.", "none"),
            Query(zero('count(resilience4j_circuitbreaker_state{state=~"open|half_open|forced_open"} == 1)'), "now"),
            width=3,
            steps=((1, ORANGE),),
        ),
        number(
            About("Queued payments", "Orders that wait for their queued payment.", "none"),
            Query("max(queued_payments)", "orders"),
            width=3,
            steps=((1, YELLOW), (100, ORANGE)),
        ),
        number(
            About("Faults on purpose", "Faults that are injected into services now.", "none"),
            Query(zero("sum(faults_active)"), "faults"),
            width=3,
            steps=((1, YELLOW),),
        ),
    ),
)

_SIGNALS = Section(
    "Golden signals",
    (
        lines(
            About("Traffic", "Requests a second by service; health checks and scrapes are left out.", "reqps"),
            Query(requests(), "{{service}}"),
            width=12,
        ),
        lines(
            About("Errors", "Share of the requests that end in a server error.", "percentunit"),
            Query(errors(), "{{service}}"),
            width=12,
            steps=ERROR_STEPS,
        ),
        lines(
            About("Latency, p99", f"Time to the end of the answer. {TRACES}", "s"),
            Query(quantile(0.99), "{{service}}", exemplars=True),
            width=12,
            steps=LATENCY_STEPS,
        ),
        lines(
            About("Saturation", "Cores that each replica uses: a Python process has one.", "none"),
            Query(process_cpu(), "{{instance}}"),
            width=12,
            steps=((0.8, RED),),
        ),
    ),
)

_TOPOLOGY = Section(
    "Topology",
    (
        grid(
            About(
                "Edges",
                "Who calls whom, measured by the caller: attempts a second, the share that failed or was given up, "
                "latency, and the worst breaker between the two. Messages have no latency here.",
                "short",
            ),
            {"service": "caller", "to": "callee"},
            Column("rate", topology.rates(), "reqps"),
            Column("errors", topology.error_shares(), "percentunit", steps=ERROR_STEPS),
            Column("p99", topology.latencies(), "s", steps=LATENCY_STEPS),
            Column("breaker", topology.breakers(), "none", words=BREAKER_STATES),
        ),
        lines(
            About("Traffic on edges", "Attempts a second, by caller and callee.", "reqps"),
            Query(topology.rates(), "{{service}} → {{to}}"),
        ),
        lines(
            About("Errors on edges", "Share of the attempts that failed or were given up.", "percentunit"),
            Query(topology.error_shares(), "{{service}} → {{to}}"),
            steps=ERROR_STEPS,
        ),
        lines(
            About("Latency on edges, p99", "What the caller waits, an attempt.", "s"),
            Query(topology.latencies(), "{{service}} → {{to}}"),
            steps=LATENCY_STEPS,
        ),
        states(
            About("Breakers", "The worst state over the replicas of the caller.", "none"),
            Query(breaker_state(), "{{service}}: {{name}}"),
            words=BREAKER_STATES,
        ),
        states(
            About("Replicas", "Which replicas answer the scrape.", "none"),
            Query('max by (service, instance) (up{job="services"})', "{{instance}}"),
            words={0: ("down", RED), 1: ("up", GREEN)},
        ),
    ),
)

PAGE = Page(
    uid="overview",
    title="Overview",
    description="The four golden signals of every service, and the edges between them.",
    sections=(_NOW, _SIGNALS, _TOPOLOGY),
)
