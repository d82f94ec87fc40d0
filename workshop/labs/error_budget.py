"""Lab 10: spend an error budget, and be paged for how fast it goes."""

import time

from workshop.lab import Lab, Note
from workshop.platform import Platform, waited

_ALERT, _FACTOR = "OrderAvailabilityBurnsFast", 14.4
_BAD = 'slo:bad_requests:ratio_rate5m{slo="order-availability"}'
_ALLOWED = 0.001
_FAILED_SERIES = 'http_requests_total{service="order",handler="/orders",status="503"}'
_SERVED = (201, 202)
_LEAST_FAILED, _ALERT_SECONDS, _REFUSED_SECONDS = 5, 60.0, 60.0


def _begin(at: Platform) -> None:
    at.prometheus("vector(1)")


def _check(at: Platform, note: Note, answer: str) -> str:
    failed = _failed(at, note)
    if failed < _LEAST_FAILED:
        raise LAB.not_yet(f"{failed:.0f} requests for orders have failed since the lab began.", "spend-it")
    highest = _highest(at, note)
    if highest < _FACTOR or not _fired(at, note):
        raise LAB.not_yet(
            f"{_ALERT} has not fired since then: the burn rate was {highest:.0f} at most, and is taken every 15 s.",
            "the-page",
        )
    try:
        read = float(answer)
    except ValueError:
        raise LAB.not_yet(
            "The burn rate of the last five minutes is not named: ANSWER=<number>.", "the-burn-rate"
        ) from None
    if not _FACTOR <= read <= highest * 1.1:
        raise LAB.not_yet(
            f"A burn rate of {read:g}? Since the lab began it was {highest:.0f} at most, and {_FACTOR} pages.",
            "the-burn-rate",
        )
    if not waited(lambda: at.place().status in _SERVED):  # a breaker tries again within ten seconds
        raise LAB.not_yet("The budget is still being spent: no order is taken.", "stop-it")
    return f"{failed:.0f} failed requests burnt the budget at up to {highest:.0f} times the rate; {_ALERT} fired."


def _failed(at: Platform, note: Note) -> float:
    statuses = ("500", "502", "503", "504")
    return sum(note.grown(at, "order", "http_requests_total", handler="/orders", status=each) for each in statuses)


def _over(at: Platform, note: Note, function: str) -> float:
    """The largest value that a function of a range took since the lab began; 0 without any."""
    found = at.prometheus(f"{function}[{max(1, int(time.time() - note.began))}s])")
    return max((float(each["value"][1]) for each in found), default=0.0)


def _see(at: Platform, _note: Note) -> None:
    """Customers hear 503: inventory cannot be reached."""
    fault = {"kind": "network", "to": "inventory", "error": "refused", "seconds": _REFUSED_SECONDS}
    at.ask_all("order", "POST", "/admin/faults", fault)
    at.place()
    # The first failure makes the series, and only what comes after its first scrape is an increase.
    waited(lambda: bool(at.prometheus(_FAILED_SERIES)))
    at.place_many(20, 5)


def _mend(at: Platform, note: Note) -> str:
    at.tidy()
    waited(lambda: _highest(at, note) >= _FACTOR and _fired(at, note), _ALERT_SECONDS)
    return f"{_highest(at, note):.0f}"


def _fired(at: Platform, note: Note) -> bool:
    return _over(at, note, f'max_over_time(ALERTS{{alertname="{_ALERT}",alertstate="firing"}}') > 0


def _highest(at: Platform, note: Note) -> float:
    """The fastest that the budget has burnt since the lab began, over five minutes at a time."""
    return _over(at, note, f"max_over_time({_BAD}") / _ALLOWED


LAB = Lab(
    number=10,
    title="SLOs, error budgets, burn-rate alerts",
    page="10-error-budget.md",
    minutes=25,
    scene="Nothing is broken. 99.9 % of the orders may be promised; spend what is left, and see who is told.",
    hints=(
        "Without inventory an order is answered with 503. A tenth of a per cent may be.",
        "The alerts: curl -sS localhost:9090/api/v1/alerts; what they compare is in infra/prometheus/slo.yaml.",
        "Burn rate = share of bad requests / (1 - objective): slo:bad_requests:ratio_rate5m / 0.001.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("order", "http_requests_total"),),
)
