"""Recordings made by hand: a fault from 100 to 120, ten orders a second around it."""

from typing import Any

from chaos.definition import Definition
from chaos.recording import Order, Recording, Series
from chaos.report.run import Run
from chaos.runner.verdict import Facts, judge

FAULT, LIFT, END = 100.0, 120.0, 140.0
CLEAN = Facts(steady_after=True, audit=0, audit_says="clean: every invariant holds\n")


def recording(during: int = 201, *, fault: bool = True, recovered: bool = True) -> Recording:
    """All is well before and after; during the fault every order is answered with that status."""
    made = Recording()
    for number in range(450):
        sent = 90.0 + number / 10
        status = during if FAULT <= sent < LIFT else 201
        made.orders[f"k{number}"] = Order(f"k{number}", sent, sent + 0.05, status, "", 0.05, 1)
    made.mark(90.0, "load", "10 orders a second")
    if fault:
        made.mark(FAULT, "fault", "made by hand")
        made.mark(LIFT, "lift", "over")
    if recovered:
        made.mark(LIFT + 3, "recovered", "3.0 s after the end of the fault")
    return made


def breaker(made: Recording, *states: tuple[float, str], name: str = "payment", instance: str = "order-1") -> None:
    every = ("closed", "open", "half_open")
    for at, state in states:
        made.sample(
            at,
            {
                Series(
                    "resilience4j_circuitbreaker_state", "order", instance, frozenset({("name", name), ("state", each)})
                ): float(each == state)
                for each in every
            },
        )


def counter(
    made: Recording, metric: str, /, *points: tuple[float, float], instance: str = "payment-1", **labels: str
) -> None:
    series = Series(metric, instance.rpartition("-")[0], instance, frozenset(labels.items()))
    for at, value in points:
        made.sample(at, {series: value})


def definition(**changes: Any) -> Definition:
    body: dict[str, Any] = {
        "name": "holdfast",
        "scenario": "by-hand",
        "blast_radius": "nothing",
        "expected": "Nothing.",
        "bites": [{"answers": [202], "at_least": 0.5}],
        "expect": [{"answers": [201, 202], "at_least": 0.95}],
    }
    return Definition.model_validate(body | changes)


def run(made: Recording, facts: Facts = CLEAN, defined: Definition | None = None) -> Run:
    defined = defined or definition()
    experiment = {"title": "By <hand>", "description": "A lesson & a half."}
    return Run(experiment, defined, made, facts, judge(defined, made, facts, END), "by-hand-1", 1, 88.0, END)
