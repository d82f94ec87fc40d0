"""Chaos: what is broken on purpose, and whether the steady state holds meanwhile."""

from infra.grafana.expressions import (
    BREAKER_STATES,
    ERROR_STEPS,
    LATENCY_STEPS,
    POSTED,
    TRACES,
    breaker_state,
    errors,
    latencies,
)
from infra.grafana.pages import Annotation, Page, Section, posted_annotations
from infra.grafana.panels import (
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    UNKNOWN,
    YELLOW,
    About,
    Query,
    lines,
    number,
    states,
    unknown,
    zero,
)
from infra.grafana.sources import RATE

_EXPERIMENT = "max by (scenario) (chaos_experiment_active)"
_EACH_FAULT = "sum by (kind, service, instance) (faults_active)"
_NO_FAULT = {"kind": "none", "service": "no service", "instance": "no replica"}

_BROKEN = Section(
    "What is broken on purpose",
    (
        states(
            About(
                "Experiment",
                "The scenario that is gone through, as the control room's page reads it from the runner.",
                "none",
            ),
            Query(unknown(_EXPERIMENT, scenario="scenario"), "{{scenario}}"),
            words=UNKNOWN | {0: ("not running", GREEN), 1: ("running", PURPLE)},
        ),
        states(
            About("Faults", "Faults that each replica has now; they end by themselves.", "none"),
            Query(zero(_EACH_FAULT, **_NO_FAULT), "{{instance}}: {{kind}}"),
            steps=((1, ORANGE),),
        ),
        lines(
            About("Struck", "Requests, calls and statements a second that a fault has hit.", "ops"),
            Query(
                zero(f"sum by (service, kind) (rate(faults_struck_total[{RATE}]))", service="no service", kind="none"),
                "{{service}}: {{kind}}",
            ),
        ),
        states(
            About("Replicas", "Which replicas answer: a kill or a pause shows here.", "none"),
            Query('max by (instance) (up{job="services"})', "{{instance}}"),
            width=8,
            words={0: ("down", RED), 1: ("up", GREEN)},
        ),
        lines(
            About("Restarts", "Starts of each process in the last minute: killed ones come back.", "short"),
            Query('changes(process_start_time_seconds{job="services"}[1m])', "{{instance}}"),
        ),
    ),
)

_STEADY = Section(
    "Does the steady state hold?",
    (
        lines(
            About("Answers", "Answers to placed orders a second, by status: 201 and 202 are good.", "reqps"),
            Query(f"sum by (status) (rate(orders_total[{RATE}]))", "{{status}}"),
            stacked=True,
        ),
        lines(
            About("Server errors", "Share of the requests that end in a server error.", "percentunit"),
            Query(errors(), "{{service}}"),
            steps=ERROR_STEPS,
        ),
        lines(
            About("Latency of an order", f"Time to the answer of POST /orders. {TRACES}", "s"),
            *latencies(POSTED),
            steps=LATENCY_STEPS,
        ),
        states(
            About("Breakers", "The worst state over the replicas.", "none"),
            Query(breaker_state(), "{{service}}: {{name}}"),
            width=8,
            words=BREAKER_STATES,
        ),
        lines(
            About("Queued payments", "Orders that wait, and for how many seconds the oldest does.", "short"),
            Query("max(queued_payments)", "waiting"),
            Query("max(queued_payments_oldest_seconds)", "oldest, in seconds"),
            steps=((60, RED),),
        ),
        lines(
            About("Orders under way", "Unfinished orders: they drain when the fault is over.", "short"),
            Query("max by (state) (orders_unfinished)", "{{state}}"),
        ),
        number(
            About("Alerts", "Alerts that fire now.", "none"),
            Query(zero('count(ALERTS{alertstate="firing"})'), "firing"),
            width=8,
            steps=((1, RED),),
        ),
        number(
            About("Dead letters", "Messages that could not be handled, since the services started.", "short"),
            Query('sum(messages_total{outcome="dead"})', "dead"),
            width=8,
            steps=((1, RED),),
        ),
        number(
            About("Orders taken over", "Orders that recovery went on with, since the services started.", "short"),
            Query("sum(orders_resumed_total)", "resumed"),
            width=8,
            steps=((1, YELLOW),),
        ),
    ),
)

PAGE = Page(
    uid="chaos",
    title="Chaos",
    description="Experiments and faults, marked on the signals that must hold.",
    sections=(_BROKEN, _STEADY),
    annotations=(
        Annotation(
            name="Experiments",
            expr=zero(_EXPERIMENT, scenario="none"),
            colour=PURPLE,
            title="Experiment: {{scenario}}",
            text="make chaos SCENARIO={{scenario}}",
            labels=("scenario",),
        ),
        posted_annotations("Verdicts", "chaos", PURPLE),
        Annotation(
            name="Faults",
            expr=zero(f"({_EACH_FAULT} > bool 0)", **_NO_FAULT),
            colour=ORANGE,
            title="Fault: {{kind}}",
            text="{{service}}, {{instance}}",
            labels=("kind", "service", "instance"),
        ),
        Annotation(
            name="Alerts",
            expr=zero('max by (alertname, service) (ALERTS{alertstate="firing"})', alertname="none"),
            colour=RED,
            title="Alert: {{alertname}}",
            text="{{service}}",
            labels=("alertname", "service"),
        ),
    ),
)
