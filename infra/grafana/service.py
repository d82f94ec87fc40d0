"""One service: its requests (rate, errors, duration) and its resources (utilisation, saturation, errors)."""

from infra.grafana.expressions import (
    ERROR_STEPS,
    LATENCY_STEPS,
    TRACES,
    errors,
    latencies,
    process_cpu,
    quantile,
    requests,
)
from infra.grafana.pages import Page, Section, instance_variable, service_variable
from infra.grafana.panels import GREEN, ORANGE, RED, UNKNOWN, YELLOW, About, Query, lines, number, states, unknown, zero
from infra.grafana.sources import RATE

_HERE = 'service=~"$service",instance=~"$instance"'
_JOB = f'job="services",{_HERE}'
_EACH = "{{instance}}"

_NOW = Section(
    "Now",
    (
        states(
            About(
                "Replicas",
                "Which replicas answer the scrape.",
                "none",
                alerts=("TargetDown",),
            ),
            Query(f"max by (instance) (up{{{_JOB}}})", _EACH),
            height=6,
            words={0: ("down", RED), 1: ("up", GREEN)},
        ),
        number(
            About("Running for", "Since the youngest replica started.", "s"),
            Query(f"min(time() - process_start_time_seconds{{{_JOB}}})", "youngest"),
            width=3,
            height=6,
        ),
        number(
            About(
                "Breakers not closed", "Breakers of this service that refuse or try calls; 0 where it has none.", "none"
            ),
            Query(
                zero(f'count(resilience4j_circuitbreaker_state{{{_HERE},state=~"open|half_open|forced_open"}} == 1)'),
                "now",
            ),
            width=3,
            height=6,
            steps=((1, ORANGE),),
        ),
        number(
            About("Faults on purpose", "Faults that are injected into these replicas now.", "none"),
            Query(zero(f"sum(faults_active{{{_HERE}}})"), "faults"),
            width=3,
            height=6,
            steps=((1, YELLOW),),
        ),
        number(
            About(
                "Failure probability",
                "How likely it is to fail soon; unknown without a predictor.",
                "percentunit",
                alerts=("FailurePredicted", "PredictorSilent"),
            ),
            Query(unknown('max(failure_probability{service=~"$service"})'), "soon"),
            width=3,
            height=6,
            steps=((0.5, YELLOW), (0.7, RED)),
            words=UNKNOWN,
        ),
    ),
)

_REQUESTS = Section(
    "Requests",
    (
        lines(
            About("Rate", "Requests a second by route.", "reqps"),
            Query(requests(_HERE, by="method, handler"), "{{method}} {{handler}}"),
        ),
        lines(
            About("Errors", "Share of the requests that end in a server error, by replica.", "percentunit"),
            Query(errors(_HERE, by="instance"), _EACH),
            steps=ERROR_STEPS,
        ),
        lines(
            About("Duration", f"Time to the end of the answer. {TRACES}", "s"),
            *latencies(_HERE),
            steps=LATENCY_STEPS,
        ),
        lines(
            About("Answers", "Requests a second by status.", "reqps"),
            Query(requests(_HERE, by="status"), "{{status}}"),
            stacked=True,
        ),
        lines(
            About("Duration by route, p99", "Which route is slow.", "s"),
            Query(quantile(0.99, _HERE, by="method, handler"), "{{method}} {{handler}}"),
            steps=LATENCY_STEPS,
        ),
        lines(
            About("Load shedding", "Requests a second that were refused before any work.", "ops"),
            Query(
                f"sum by (priority, reason) (rate(requests_shed_total{{{_HERE}}}[{RATE}]))", "{{priority}}: {{reason}}"
            ),
        ),
    ),
)

_RESOURCES = Section(
    "Resources",
    (
        lines(
            About("Processor", "Cores in use: a Python process has one.", "none"),
            Query(process_cpu(_JOB), _EACH),
            steps=((0.8, RED),),
        ),
        lines(
            About("Memory", "Resident memory.", "bytes"),
            Query(f"process_resident_memory_bytes{{{_JOB}}}", _EACH),
        ),
        lines(
            About(
                "File descriptors", "Open files and sockets, as a share of what the process may open.", "percentunit"
            ),
            Query(f"process_open_fds{{{_JOB}}} / process_max_fds{{{_JOB}}}", _EACH),
            steps=((0.8, RED),),
        ),
        lines(
            About(
                "Event loop lag",
                "How late timers run: what blocks the loop makes every request wait.",
                "s",
                alerts=("EventLoopLags",),
            ),
            Query(f"event_loop_lag_seconds{{{_HERE}}}", _EACH),
            steps=((0.05, YELLOW), (0.25, RED)),
        ),
        lines(
            About("Requests in flight", "Requests that are being served.", "short"),
            Query(f"requests_in_flight{{{_HERE}}}", _EACH),
        ),
        lines(
            About(
                "Database pool",
                "Share of the connections in use, by replica and pool.",
                "percentunit",
                alerts=("DatabasePoolExhausted",),
            ),
            Query(
                f"db_pool_connections_active{{{_HERE}}} / db_pool_connections_max{{{_HERE}}}", "{{instance}} {{pool}}"
            ),
            top=1,
            steps=((0.9, RED),),
        ),
        lines(
            About("Database", "Statements and commits a second.", "ops"),
            Query(f"sum by (instance) (rate(db_statements_total{{{_HERE}}}[{RATE}]))", "{{instance}} statements"),
            Query(f"sum by (instance) (rate(db_commits_total{{{_HERE}}}[{RATE}]))", "{{instance}} commits"),
        ),
        lines(
            About(
                "Background tasks",
                "Failures of background tasks in the last ten minutes; they are restarted.",
                "short",
                alerts=("BackgroundTaskFails",),
            ),
            Query(f"sum by (task) (increase(background_failures_total{{{_HERE}}}[10m]))", "{{task}}"),
            steps=((3, RED),),
        ),
        lines(
            About("Traces", "Spans a second that this service sent, and that it had to drop.", "ops"),
            Query(zero(f"sum by (instance) (rate(otlp_spans_exported_total{{{_HERE}}}[{RATE}]))"), "{{instance}} sent"),
            Query(
                zero(f"sum by (instance) (rate(otlp_export_dropped_spans_total{{{_HERE}}}[{RATE}]))"),
                "{{instance}} dropped",
            ),
        ),
    ),
)

PAGE = Page(
    uid="service",
    title="Service",
    description="One service and its replicas: requests and resources.",
    sections=(_NOW, _REQUESTS, _RESOURCES),
    variables=(service_variable(everything=False), instance_variable()),
)
