"""Which signals moved, in words: where each is, where it is going, and when it will be there."""

from dataclasses import dataclass, replace

import numpy as np

from ml.features.prometheus import Matrix
from ml.features.signals import FELT, NAMES, of_callees
from ml.features.windows import PER_SIGNAL
from ml.predictor.scorer import Scored, as_block

_MOST_REASONS = 3
_SMALLEST_WEIGHT = 0.1
_SURE = 3.0
"""t statistic of a slope that is worth a word."""
_FAR = 120.0
"""Minutes: what `to_limit` says when there is no limit in sight."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A signal, what it does, and how much it moves the log-odds of a failure."""

    signal: str
    words: str
    weight: float


@dataclass(frozen=True, slots=True)
class _Wording:
    """`name level unit rest`; `factor` from the signal's number to the unit; `ends` is what the limit means."""

    name: str
    unit: str = ""
    rest: str = ""
    factor: float = 1.0
    ends: str = ""


def _share(name: str, rest: str, ends: str = "") -> _Wording:
    return _Wording(name, " %", rest, 100.0, ends)


_WORDS = {
    "cpu": _share("processor", " of its limit", "at its limit"),
    "memory": _share("memory", " of its limit", "full"),
    "latency_p50": _Wording("latency p50", " s", ends="at 1 s"),
    "latency_p95": _Wording("latency p95", " s", ends="at 1 s"),
    "latency_p99": _Wording("latency p99", " s", ends="at 1 s"),
    "error_ratio": _share("errors", " of requests", "at 5 %"),
    "request_rate": _Wording("load", " requests a second"),
    "breaker_open": _share("a breaker open", " of the time"),
    "pool": _share("connections of the pool", " in use", "all in use"),
    "queue_age": _Wording("oldest queued message", " s"),
    "loop_lag": _Wording("event loop lag", " s", ends="at 0.5 s"),
    "in_flight": _Wording("requests in flight"),
    "retry_ratio": _share("retries", " of calls"),
    "shed_ratio": _share("requests shed", "", "at 5 %"),
    "restarts": _Wording("restarts in five minutes"),
    "replicas": _Wording("replicas that answer"),
}
_WORDS |= {of_callees(name): replace(_WORDS[name], name=f"{_WORDS[name].name} of a service it calls") for name in FELT}


def reasons(row: Matrix, scored: Scored) -> tuple[Reason, ...]:
    """The signals that raise this row's probability most, at most three, the strongest first."""
    block = as_block(row)
    strongest = np.argsort(-scored.weights)[:_MOST_REASONS]
    return tuple(
        Reason(NAMES[index], sentence(NAMES[index], block[index]), round(float(scored.weights[index]), 3))
        for index in strongest.tolist()
        if scored.weights[index] >= _SMALLEST_WEIGHT
    )


def sentence(signal: str, features: Matrix) -> str:
    """What one signal does, from its features in the order of `PER_SIGNAL`."""
    wording = _WORDS[signal]
    of = dict(zip(PER_SIGNAL, features.tolist(), strict=True))
    if np.isnan(of["level"]):
        return f"{wording.name}: no numbers"
    text = f"{wording.name} {_number(of['level'] * wording.factor)}{wording.unit}{wording.rest}"
    moves = abs(of["t_15"]) > _SURE and _number(of["slope_15"] * wording.factor) != "0"
    if moves:
        sign = "+" if of["slope_15"] > 0 else "-"
        text += f", {sign}{_number(abs(of['slope_15']) * wording.factor)}{wording.unit} a minute"
    if wording.ends and of["to_limit"] == 0:
        text += f", {wording.ends} or beyond"
    elif wording.ends and moves and of["to_limit"] < _FAR:
        text += f", {wording.ends} in {of['to_limit']:.0f} minutes"
    return text


def _number(value: float) -> str:
    """Two or three digits that matter, and no exponent."""
    if abs(value) >= 10:
        return f"{value:.0f}"
    if abs(value) >= 1:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2g}" if abs(value) >= 0.001 else "0"
