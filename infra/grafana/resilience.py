"""Resilience: what the patterns do at this moment, and what they cost."""

from infra.grafana.expressions import BREAKER_STATES, amplification, breaker_state
from infra.grafana.pages import Page, Section, instance_variable, service_variable
from infra.grafana.panels import GREY, ORANGE, RED, YELLOW, About, Query, lines, number, states, zero
from infra.grafana.sources import RATE

_HERE = 'service=~"$service",instance=~"$instance"'
_NAME = "{{name}}"


def _rate(metric: str, *by: str, where: str = "") -> str:
    return f"sum by ({', '.join(by)}) (rate({metric}{{{_HERE}{where}}}[{RATE}]))"


_BREAKERS = Section(
    "Circuit breakers",
    (
        states(
            About(
                "State",
                "Each breaker of each replica. Replicas share what they learn: one that opens takes the others along.",
                "none",
                alerts=("BreakerStuckOpen",),
            ),
            Query(breaker_state(_HERE, by="instance, name"), "{{instance}}: {{name}}"),
            words=BREAKER_STATES,
        ),
        lines(
            About(
                "Failure rate",
                "Failed calls in the window, in per cent; -1 while there are too few calls to judge. It opens at 50.",
                "percent",
            ),
            Query(f"max by (name) (resilience4j_circuitbreaker_failure_rate{{{_HERE}}})", _NAME),
            width=6,
            steps=((50, RED),),
            words={-1: ("too few calls", GREY)},
        ),
        lines(
            About(
                "Slow calls", "Slow calls in the window, in per cent; -1 while there are too few. 80 opens.", "percent"
            ),
            Query(f"max by (name) (resilience4j_circuitbreaker_slow_call_rate{{{_HERE}}})", _NAME),
            width=6,
            steps=((80, RED),),
            words={-1: ("too few calls", GREY)},
        ),
        lines(
            About("Calls", "Calls through the breakers a second, by how they ended.", "ops"),
            Query(_rate("resilience4j_circuitbreaker_calls_seconds_count", "name", "kind"), "{{name}} {{kind}}"),
        ),
        lines(
            About("Refused", "Calls a second that a breaker refused at once, without asking the other side.", "ops"),
            Query(_rate("resilience4j_circuitbreaker_not_permitted_calls_total", "name"), _NAME),
        ),
        lines(
            About("Calls in the window", "What each breaker judges by now.", "short"),
            Query(f"sum by (name, kind) (resilience4j_circuitbreaker_buffered_calls{{{_HERE}}})", "{{name}} {{kind}}"),
        ),
    ),
)

_RETRIES = Section(
    "Retries, hedges and their budgets",
    (
        lines(
            About(
                "Amplification",
                "Attempts for each call. Three attempts are allowed, the budget keeps the sum near 1.",
                "none",
                alerts=("RetryAmplification",),
            ),
            Query(amplification(_HERE, by="name"), _NAME),
            steps=((1.25, RED),),
        ),
        lines(
            About("Calls by retries", "Guarded calls a second: with or without a retry, ended well or not.", "ops"),
            Query(_rate("resilience4j_retry_calls_total", "kind"), "{{kind}}"),
        ),
        lines(
            About("Retries and hedges", "Attempts beside the first, a second.", "ops"),
            Query(_rate("resilience_retry_attempts_total", "name"), "retry {{name}}"),
            Query(_rate("resilience_hedge_calls_total", "name", "kind"), "hedge {{name}} {{kind}}"),
        ),
        lines(
            About("Budget: tokens", "Tokens left of 100; at half or below nothing is repeated any more.", "short"),
            Query(f"min by (name) (resilience_retry_budget_tokens{{{_HERE}}})", _NAME),
            steps=((50, YELLOW),),
        ),
        lines(
            About("Budget: repeats at once", "Retries and hedges that run now, and how many may.", "short"),
            Query(f"max by (name) (resilience_retry_budget_active_retries{{{_HERE}}})", "{{name}} active"),
            Query(f"min by (name) (resilience_retry_budget_limit{{{_HERE}}})", "{{name}} limit"),
        ),
        lines(
            About("Budget: decisions", "Repeats a second that the budget allowed and refused.", "ops"),
            Query(_rate("resilience_retry_budget_granted_total", "name"), "{{name}} granted"),
            Query(_rate("resilience_retry_budget_refused_total", "name"), "{{name}} refused"),
        ),
    ),
)

_LIMITS = Section(
    "Bulkheads, time limits and fallbacks",
    (
        lines(
            About("Bulkheads: in use", "Share of the slots that are taken, in the fullest replica.", "percentunit"),
            Query(
                f"max by (name) (1 - resilience4j_bulkhead_available_concurrent_calls{{{_HERE}}}"
                f" / resilience4j_bulkhead_max_allowed_concurrent_calls{{{_HERE}}})",
                _NAME,
            ),
            top=1,
            steps=((0.9, RED),),
        ),
        lines(
            About("Bulkheads: in line", "Calls that wait for a slot.", "short"),
            Query(f"sum by (name) (resilience_bulkhead_waiting_calls{{{_HERE}}})", _NAME),
        ),
        lines(
            About("Bulkheads: refused", "Calls a second that got no slot.", "ops"),
            Query(_rate("resilience_bulkhead_refused_calls_total", "name"), _NAME),
        ),
        lines(
            About("Time limits", "Attempts a second that took too long.", "ops"),
            Query(_rate("resilience4j_timelimiter_calls_total", "name", where=',kind="timeout"'), _NAME),
        ),
        lines(
            About(
                "Fallbacks", "Calls a second that were answered by the fallback, or for which it failed, too.", "ops"
            ),
            Query(_rate("resilience_fallback_calls_total", "name", "kind"), "{{name}} {{kind}}"),
        ),
        lines(
            About(
                "Load shedding", "Requests a second that were refused before any work, by priority and reason.", "ops"
            ),
            Query(_rate("requests_shed_total", "priority", "reason"), "{{priority}}: {{reason}}"),
        ),
    ),
)

_SWITCHES = Section(
    "Switches",
    (
        number(
            About("Layers switched off", "Layers of pipelines that somebody has switched off at run time.", "none"),
            Query(zero(f"count(resilience_layer_enabled{{{_HERE}}} == 0)"), "off"),
            width=6,
            steps=((1, ORANGE),),
        ),
        number(
            About("Faults in pipelines", "Faults that act on the attempts of a pipeline now.", "none"),
            Query(zero(f"sum(resilience_faults_active{{{_HERE}}})"), "faults"),
            width=6,
            steps=((1, YELLOW),),
        ),
        number(
            About("Rate limiters: refused", "Calls a second that got no permission; 0 also where none is set.", "ops"),
            Query(zero(_rate("resilience_ratelimiter_refused_calls_total", "name")), _NAME),
            width=6,
            steps=((0.001, ORANGE),),
        ),
        number(
            About("Configuration reloads", "Changed policy files since the start, taken and refused.", "short"),
            Query(f"sum by (outcome) (resilience_config_reloads_total{{{_HERE}}})", "{{outcome}}"),
            width=6,
        ),
    ),
)

PAGE = Page(
    uid="resilience",
    title="Resilience",
    description="Breakers, retries and their amplification, bulkheads, time limits of the calls between services.",
    sections=(_BREAKERS, _RETRIES, _LIMITS, _SWITCHES),
    variables=(service_variable(everything=True), instance_variable()),
)
