"""One prediction: what is said about a service at a minute, or that nothing can be said and why."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from ml.artefact import Manifest
from ml.features.prometheus import Matrix
from ml.features.signals import CALLEES, ESSENTIAL, NAMES, OWN
from ml.features.windows import PER_SIGNAL
from ml.predictor.explanation import Reason
from ml.predictor.scorer import as_block

_LEVEL, _SLOPE = PER_SIGNAL.index("level"), PER_SIGNAL.index("slope_15")

_ALWAYS_THERE = 0.1
"""A signal that was missing in a smaller share of the training is one the model counts on."""

_MOST_LACKING = 0.25
"""The share of those that may be missing now."""


class State(StrEnum):
    """`unknown` is neither of the others: nobody looked."""

    WARNING = "warning"
    QUIET = "quiet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Prediction:
    """About one service at one minute (seconds since 1970; None when there was none yet).

    probability: of a breach that starts in ten to thirty minutes; None when unknown
    why:         for `unknown`, what is lacking
    missing:     signals without a number in the last five minutes
    """

    service: str
    at: float | None
    state: State
    probability: float | None = None
    why: str = ""
    reasons: tuple[Reason, ...] = ()
    missing: tuple[str, ...] = ()


def missing(row: Matrix, service: str) -> tuple[str, ...]:
    """The signals that have no level in a row of features; who calls nobody lacks no signals of callees."""
    levels = as_block(row)[:, _LEVEL]
    expected = NAMES if service in CALLEES else OWN
    return tuple(name for name, level in zip(NAMES, levels, strict=True) if np.isnan(level) and name in expected)


def counted_on(manifest: Manifest) -> frozenset[str]:
    """The signals that the training nearly always had."""
    spreads = {name: manifest.drift.get(f"{name}.{PER_SIGNAL[_LEVEL]}") for name in NAMES}
    return frozenset(name for name, spread in spreads.items() if spread and spread.missing < _ALWAYS_THERE)


def why_unknown(row: Matrix, service: str, relied: frozenset[str]) -> str | None:
    """What forbids a prediction from this row: an essential signal, or too many of the others. None when nothing."""
    lacking = missing(row, service)
    block = as_block(row)
    for index in ESSENTIAL:
        if NAMES[index] in lacking:
            return f"no numbers about {NAMES[index]}"
        if np.isnan(block[index, _SLOPE]):
            return f"not enough minutes of {NAMES[index]} yet"
    gone = sorted(relied.intersection(lacking))
    if len(gone) > _MOST_LACKING * len(relied):
        return f"no numbers about {', '.join(gone)}"
    return None
