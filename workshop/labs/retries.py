"""Lab 3: retries without a budget, and what they do to a payment service that is down already."""

from workshop import policies
from workshop.lab import Lab, Note
from workshop.platform import Platform
from workshop.probes import broken_payment, storm

_ORDERS, _MOST, _SEEN = 30, 1.5, 20
_STORM = """\
    circuit_breaker: null
    breaker: null
    retry:
      max_attempts: 6
      wait_duration: 10ms
      multiplier: 1
      max_wait: 10ms
      jitter: none
      retry_exceptions: *transient
"""
_NO_BUDGET = "  payment: {ratio: 1.0, floor: 1000, max_tokens: 1000, token_ratio: 1000}\n"


def _policy(budget: str) -> str:
    charge = policies.CHARGE.replace("    breaker: payment\n", "") + _STORM
    return policies.changed((policies.CHARGE, charge), (policies.PAYMENT_BUDGET, budget))


def _begin(at: Platform) -> None:
    at.use_policy(_policy(_NO_BUDGET))


def _check(at: Platform, note: Note, _answer: str) -> str:
    seen = note.grown(at, "order", "resilience_retry_attempts_total", name="payment.process")
    if seen < _SEEN:
        raise LAB.not_yet(
            f"There were {seen:.0f} retries of charges since the lab began: see the storm first, at least {_SEEN}.",
            "see-it",
        )
    refused = note.grown(at, "order", "resilience_retry_budget_refused_total", name="payment")
    tries = storm(at, _ORDERS).tried
    refused = note.grown(at, "order", "resilience_retry_budget_refused_total", name="payment") - refused
    if tries > _MOST:
        raise LAB.not_yet(
            f"Of {_ORDERS} orders, while payment fails, each asks it {tries:.1f} times; at most {_MOST:g}.", "mend-it"
        )
    if refused < 1:
        raise LAB.not_yet(
            f"{tries:.1f} charges an order, but the budget refused no retry: something else stops them.", "the-trap"
        )
    return f"{tries:.2f} charges an order while payment fails; the budget refused {refused:.0f} retries."


def _see(at: Platform, _note: Note) -> None:
    with broken_payment(at, status=500):
        at.place_many(6, 3)


def _mend(at: Platform, _note: Note) -> str:
    at.use_policy(_policy(policies.PAYMENT_BUDGET))
    return ""


LAB = Lab(
    number=3,
    title="Retries, and how they kill",
    page="03-retries.md",
    minutes=25,
    scene="The charge is now retried five times, at once, and its budget is so large that there is none.",
    hints=(
        "Compare orders with charges: resilience_retry_attempts_total, or faults_struck_total at payment.",
        "Fewer attempts help only by that factor. What bounds all of them together is `budgets: payment:`.",
        "ratio: 0.2, floor: 3, max_tokens: 10, token_ratio: 0.1 grants five retries to a dependency that is down.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(
        ("order", "resilience_retry_attempts_total"),
        ("order", "resilience_retry_budget_refused_total"),
    ),
)
