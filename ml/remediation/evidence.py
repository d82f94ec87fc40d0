"""What is known about a service in one minute. What is missing, stale or impossible is unknown, with the reason."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

FUTURE_SECONDS = 30.0
"""How far a predictor's clock may be ahead of ours."""


class Reason(BaseModel):
    """One signal that moved, and by how much it weighs in the warning."""

    model_config = ConfigDict(frozen=True)

    signal: str = Field(max_length=100)
    words: str = Field("", max_length=1000)
    weight: float = 0.0


class Prediction(BaseModel):
    """One service in the predictor's answer. A number that is not one refuses the whole."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    service: str = Field(min_length=1, max_length=100)
    at: AwareDatetime | None
    state: Literal["warning", "quiet", "unknown"]
    probability: float | None = Field(ge=0, le=1)
    threshold: float = Field(ge=0, le=1.01)
    reasons: tuple[Reason, ...] = Field((), max_length=100)
    missing: tuple[str, ...] = Field((), max_length=100)
    why: str = Field("", max_length=1000)
    model: str = Field("", max_length=200)

    @model_validator(mode="after")
    def _consistent(self) -> "Prediction":
        if self.state != "unknown" and (self.probability is None or self.at is None):
            raise ValueError(f"{self.state} without a probability or a moment")
        return self


@dataclass(frozen=True, slots=True)
class Evidence:
    """One service, one minute.

    probability: None when nothing is known; then `unknown` says why
    signals:     those that moved, the one with the most weight first
    weights:     by how much each of them raises the probability (log-odds)
    breached:    users see it now (None: nobody can tell)
    """

    service: str
    probability: float | None
    threshold: float = 1.01
    unknown: str = ""
    signals: tuple[str, ...] = ()
    weights: Mapping[str, float] = field(default_factory=dict)
    breached: bool | None = None
    prediction: Mapping[str, Any] | None = None


def read(answer: Any, services: Iterable[str], now: float, stale_seconds: float) -> dict[str, Evidence]:
    """The predictor's answer, service by service.

    answer: the decoded JSON; anything may be in it
    now:    seconds since 1970
    """
    told = answer.get("predictions") if isinstance(answer, dict) else answer
    if not isinstance(told, list):
        return nothing(services, "the predictor's answer holds no predictions")
    return {service: _one(service, _about(service, told), now, stale_seconds) for service in services}


def nothing(services: Iterable[str], why: str) -> dict[str, Evidence]:
    """All unknown, for one reason."""
    return {service: Evidence(service, None, unknown=why) for service in services}


def _about(service: str, answer: list[Any]) -> list[Any]:
    return [each for each in answer if isinstance(each, dict) and each.get("service") == service]


_PREDICTION = TypeAdapter(Prediction)


def _one(service: str, told: list[Any], now: float, stale_seconds: float) -> Evidence:
    if len(told) != 1:
        text = f"the predictor says {len(told)} things about it" if told else "the predictor says nothing about it"
        return Evidence(service, None, unknown=text)
    try:
        found = _PREDICTION.validate_python(told[0])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        return Evidence(service, None, unknown=f"the predictor lies: {where or 'answer'}: {first['msg']}")
    if found.at is None or found.state == "unknown" or found.probability is None:
        missing = f"{', '.join(found.missing)} missing" if found.missing else "no reason given"
        return Evidence(service, None, unknown=f"the predictor does not know: {found.why or missing}")
    age = now - found.at.timestamp()
    if age > stale_seconds or age < -FUTURE_SECONDS:
        how = f"{age:.0f} s old" if age > 0 else f"{-age:.0f} s ahead"
        return Evidence(service, None, unknown=f"the prediction is {how}")
    by_weight = sorted(found.reasons, key=lambda each: -abs(each.weight) if math.isfinite(each.weight) else 0)
    return Evidence(
        service,
        found.probability,
        found.threshold,
        signals=tuple(reason.signal for reason in by_weight),
        weights={reason.signal: reason.weight for reason in by_weight},
        prediction=found.model_dump(mode="json"),
    )
