"""What the sidecar answers, as JSON."""

from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from ml.artefact import Manifest
from ml.labels import HORIZON, LEAD
from ml.predictor.prediction import Prediction, State

DIGITS = 12
"""Of the model's digest that name it."""


class ReasonAnswer(BaseModel):
    """A signal that moved, in words, and by how much it moves the log-odds."""

    signal: str
    words: str
    weight: float


class PredictionAnswer(BaseModel):
    """About one service. `probability` is null while `state` is `unknown`, and `why` then says what is lacking."""

    service: str
    at: datetime | None
    state: State
    probability: float | None
    threshold: float
    horizon_minutes: tuple[int, int] = (LEAD, HORIZON)
    why: str
    reasons: list[ReasonAnswer]
    missing: list[str]
    model: str

    @classmethod
    def of(cls, prediction: Prediction, manifest: Manifest) -> Self:
        """The answer for a prediction of this model."""
        return cls(
            service=prediction.service,
            at=None if prediction.at is None else datetime.fromtimestamp(prediction.at, UTC),
            state=prediction.state,
            probability=prediction.probability,
            threshold=manifest.threshold,
            why=prediction.why,
            reasons=[
                ReasonAnswer(signal=each.signal, words=each.words, weight=each.weight) for each in prediction.reasons
            ],
            missing=list(prediction.missing),
            model=manifest.sha256[:DIGITS],
        )


class PredictionsAnswer(BaseModel):
    """About every service."""

    predictions: list[PredictionAnswer]


class ModelAnswer(BaseModel):
    """The model in use, as its signed manifest has it; how it fares here; how far the features have drifted."""

    model_config = ConfigDict(protected_namespaces=())

    name: str
    created: str
    sha256: str
    threshold: float
    persistence: tuple[int, int]
    history_minutes: int
    features: int
    dataset: dict[str, Any]
    metrics: dict[str, Any]
    calibration_error: float | None
    drift: dict[str, float]


class ProblemAnswer(BaseModel):
    """The body of an error answer (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str


class HealthAnswer(BaseModel):
    """Whether the loop is at work."""

    status: str
