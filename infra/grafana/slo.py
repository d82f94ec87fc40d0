"""Objectives and error budgets, from the same file that the alerts are made of."""

from infra.grafana.expressions import ERROR_STEPS, errors, requests
from infra.grafana.pages import Page, Section
from infra.grafana.panels import GREEN, ORANGE, RED, About, Panel, Query, lines, number, states, zero
from infra.prometheus.objectives import Objective, read_objectives

_SLO = read_objectives()
_WINDOWS = ("5m", "30m", "1h")
"""Those that are known within seconds; the longer ones only serve the alerts."""

_SPEEDS = tuple((rate.factor, RED if rate.severity == "page" else ORANGE) for rate in reversed(_SLO.burn_rates))


def _left(each: Objective) -> Panel:
    return number(
        About(
            f"Budget left: {each.name}",
            f"Promised over {_SLO.period}: {each.promise}. What is left of the {each.budget:.3%} that may fail.",
            "percentunit",
        ),
        Query(f'slo:error_budget:left_ratio{{slo="{each.name}"}}', "{{service}}"),
        width=8,
        height=5,
        steps=((-1e9, RED), (0, ORANGE), (0.25, GREEN)),
    )


def _kept(each: Objective) -> Panel:
    return lines(
        About(
            f"Good requests: {each.name}",
            f"Share in the last five minutes; promised is {each.objective:g}.",
            "percentunit",
        ),
        Query(f'1 - slo:bad_requests:ratio_rate5m{{slo="{each.name}"}}', "{{service}}"),
        steps=((each.objective, GREEN),),
        top=1,
    )


def _burning(each: Objective) -> Panel:
    return lines(
        About(
            f"Burn rate: {each.name}",
            "How many times too fast the budget is used up. Someone is called at 14.4 over an hour or 6 over six, "
            "and a ticket is written at 3 and at 1 over days.",
            "none",
            alerts=(f"{each.alert}BurnsFast", f"{each.alert}BurnsSlowly"),
        ),
        *(
            Query(
                f'slo:bad_requests:ratio_rate{window}{{slo="{each.name}"}} / {each.budget}', f"{{{{service}}}} {window}"
            )
            for window in _WINDOWS
        ),
        steps=_SPEEDS,
    )


_BUDGETS = Section("Error budgets", tuple(_left(each) for each in _SLO.objectives))
_RATES = Section(
    "Burn rates", (*(_burning(each) for each in _SLO.objectives), *(_kept(each) for each in _SLO.objectives))
)
_DETAIL = Section(
    "What it is made of",
    (
        lines(
            About("Requests for orders by answer", "Requests a second by status.", "reqps"),
            Query(requests('service="order",handler=~"/orders.*"', by="status"), "{{status}}"),
            stacked=True,
        ),
        lines(
            About("Server errors by route", "Share of the requests for orders, by route.", "percentunit"),
            Query(errors('service="order",handler=~"/orders.*"', by="handler, method"), "{{method}} {{handler}}"),
            steps=ERROR_STEPS,
        ),
        states(
            About("Alerts", "Alerts that wait to fire, or fire.", "none"),
            Query(
                zero(
                    'max by (alertname) (ALERTS{alertstate="pending"} or ALERTS{alertstate="firing"} * 2)',
                    alertname="none",
                ),
                "{{alertname}}",
            ),
            width=8,
            words={0: ("quiet", GREEN), 1: ("pending", ORANGE), 2: ("firing", RED)},
        ),
    ),
)

PAGE = Page(
    uid="slo",
    title="Objectives and error budget",
    description="What is promised, how much of it is kept, and how fast the rest is used up.",
    sections=(_BUDGETS, _RATES, _DETAIL),
)
