"""How well the simulated card network works, and the switch with which an operator makes it work worse for a while."""

import math
import time
from collections.abc import Callable
from enum import Enum
from random import Random
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

_P99 = 2.3263478740408408
"""The standard normal distribution's 99th percentile."""


class Loss(Enum):
    """What happens to a call to the network."""

    NONE = "none"
    REQUEST = "request"  # it never arrives
    ANSWER = "answer"  # it takes effect, and the caller does not learn of it


class Behaviour(BaseModel):
    """Latencies in milliseconds (log-normal, by median and 99th percentile) and the shares of calls that are lost."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)

    latency_median_ms: float = Field(default=0.0, ge=0, le=60_000)
    latency_p99_ms: float = Field(default=0.0, ge=0, le=60_000)
    lost_requests: float = Field(default=0.0, ge=0, le=1, description="Share of calls that never arrive")
    lost_answers: float = Field(default=0.0, ge=0, le=1, description="Share that take effect without an answer")

    @model_validator(mode="after")
    def _is_a_distribution(self) -> Self:
        if self.latency_p99_ms < self.latency_median_ms:
            raise ValueError("latency_p99_ms must not be less than latency_median_ms")
        if self.lost_requests + self.lost_answers > 1:
            raise ValueError("lost_requests and lost_answers together must not exceed 1")
        return self

    def latency_seconds(self, random: Random) -> float:
        """Draw the time that one call takes."""
        if self.latency_median_ms == 0:
            return 0.0
        sigma = math.log(self.latency_p99_ms / self.latency_median_ms) / _P99
        return self.latency_median_ms * math.exp(sigma * random.gauss(0.0, 1.0)) / 1000

    def loss(self, random: Random) -> Loss:
        """Draw whether one call is lost, and how."""
        drawn = random.random()
        if drawn < self.lost_requests:
            return Loss.REQUEST
        if drawn < self.lost_requests + self.lost_answers:
            return Loss.ANSWER
        return Loss.NONE


class BehaviourSwitch:
    """The behaviour in force: the configured one, or another one for a limited or unlimited time."""

    def __init__(self, configured: Behaviour, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.configured = configured
        self._switched = configured
        self._until = math.inf
        self._monotonic = monotonic

    def switch(self, behaviour: Behaviour, seconds: float | None = None) -> None:
        """Put `behaviour` in force for `seconds`, or until the next switch."""
        self._switched = behaviour
        self._until = math.inf if seconds is None else self._monotonic() + seconds

    def current(self) -> Behaviour:
        """The behaviour in force now."""
        if self._monotonic() >= self._until:
            self.switch(self.configured)
        return self._switched

    def reverts_in_seconds(self) -> float | None:
        """How long the switched behaviour has left; None when no end is set."""
        self.current()
        return None if math.isinf(self._until) else max(0.0, self._until - self._monotonic())
