"""The loop: once a minute, for every service, ask, predict, and judge what was said half an hour ago."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import structlog

from ml.artefact import Manifest
from ml.features.prometheus import Matrix
from ml.features.signals import SERVICES, Scale
from ml.features.windows import features
from ml.persistence import Persistence, Warner
from ml.predictor.asking import Asked, Questions
from ml.predictor.drift import CalibrationDrift, FeatureDrift
from ml.predictor.explanation import reasons
from ml.predictor.ledger import LOOKBACK, Ledger, Promise
from ml.predictor.metrics import Counts
from ml.predictor.prediction import Prediction, State, counted_on, missing, why_unknown
from ml.predictor.scorer import Scorer

_STALE_MINUTES = 4
_SHARE_OF_MINUTE = 0.8
"""All questions of a minute end within it."""

log = structlog.get_logger()


class Watch:
    """What the sidecar knows of every service.

    clock: seconds since 1970
    sleep: waits so many seconds
    """

    def __init__(
        self,
        questions: Questions,
        scorer: Scorer,
        manifest: Manifest,
        scale: Scale,
        counts: Counts,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        services: Sequence[str] = SERVICES,
    ) -> None:
        self._questions, self._scorer, self._counts = questions, scorer, counts
        self._threshold, self._minute = manifest.threshold, scale.minute
        self._clock, self._sleep = clock, sleep
        self._persistence = Persistence(*manifest.persistence)
        self._warners = {service: Warner(manifest.threshold, self._persistence) for service in services}
        self._ledgers = {service: Ledger(service, scale.minute) for service in services}
        self._relied = counted_on(manifest)
        self._latest: dict[str, Prediction] = {}
        self._last: float | None = None
        self.drift = FeatureDrift(manifest.drift)
        self.calibration = CalibrationDrift()

    @property
    def services(self) -> tuple[str, ...]:
        """The services that are watched."""
        return tuple(self._warners)

    @property
    def ready(self) -> bool:
        """Whether the first minute has been looked at."""
        return self._last is not None

    def current(self, service: str) -> Prediction:
        """The latest prediction about a service; unknown when there is none, or it is old."""
        latest = self._latest.get(service)
        if latest is None or latest.at is None:
            return Prediction(service, None, State.UNKNOWN, why="no minute has been looked at yet")
        age = self._clock() - latest.at
        if abs(age) > _STALE_MINUTES * self._minute:
            return Prediction(service, latest.at, State.UNKNOWN, why=f"the latest prediction is {age:.0f} s old")
        return latest

    async def run(self) -> None:
        """Look at every minute as it begins, for ever."""
        while True:
            await self.tick(self._clock() // self._minute * self._minute)
            now = self._clock()
            await self._sleep((now // self._minute + 1) * self._minute - now)

    async def tick(self, at: float) -> None:
        """Look at the minute that begins at `at` (seconds since 1970)."""
        deadline = asyncio.get_running_loop().time() + _SHARE_OF_MINUTE * self._minute
        unseen = 0 if self._last is None else round((at - self._last) / self._minute) - 1
        for warner in self._warners.values():
            for _ in range(min(max(0, unseen), self._persistence.n)):
                warner.step(np.nan)
        await asyncio.gather(*(self._look(service, at, deadline) for service in self.services))
        self._last = at

    async def _look(self, service: str, at: float, deadline: float) -> None:
        try:
            asked = await self._questions.signals(service, at, deadline)
            began = time.perf_counter()
            prediction = self._predict(service, at, asked)
            if prediction.probability is not None:
                self._counts.latency.observe(time.perf_counter() - began)
            self._latest[service] = prediction
            self._note(prediction, asked)
            await self._judge(service, at, deadline)
        except Exception as error:
            # whatever is wrong with one service or minute, the others are looked at, and nothing is known of this one
            log.exception("a minute could not be looked at", service=service, at=at)
            why = f"a defect of the predictor: {type(error).__name__}"
            self._latest[service] = Prediction(service, at, State.UNKNOWN, why=why)

    def _predict(self, service: str, at: float, asked: Asked) -> Prediction:
        row: Matrix = features(asked.columns)[-1]
        gone, warner = missing(row, service), self._warners[service]
        why = why_unknown(row, service, self._relied)
        if why is not None:
            warner.step(np.nan)
            cause = next(iter(asked.failures.values()), "")
            text = f"{why}; Prometheus: {cause}" if cause else why
            return Prediction(service, at, State.UNKNOWN, why=text, missing=gone)
        self.drift.observe(row)
        scored = self._scorer.score(row)
        warned = warner.step(scored.probability)
        self._ledgers[service].add(Promise(at, scored.probability, warned))
        told = reasons(row, scored) if warned or scored.probability >= self._threshold / 2 else ()
        state = State.WARNING if warned else State.QUIET
        return Prediction(service, at, state, scored.probability, reasons=told, missing=gone)

    def _note(self, prediction: Prediction, asked: Asked) -> None:
        log.info(
            "predicted",
            service=prediction.service,
            at=prediction.at,
            state=prediction.state.value,
            probability=prediction.probability,
            threshold=self._threshold,
            why=prediction.why,
            reasons=[reason.words for reason in prediction.reasons],
            missing=prediction.missing,
            unanswered={why: sorted(asked.failed(why)) for why in set(asked.failures.values())},
        )

    async def _judge(self, service: str, at: float, deadline: float) -> None:
        ledger = self._ledgers[service]
        if not ledger.due(at):
            return
        asked = await self._questions.outcomes(service, at, LOOKBACK, deadline)
        if asked.failures:
            return  # they wait; what waits too long is left out
        verdicts, left_out = ledger.judge(at, asked.columns[:, 0], asked.columns[:, 1])
        self._counts.unjudged.labels(service).inc(left_out)
        for verdict in verdicts:
            self._counts.outcomes.labels(service, verdict.outcome.value).inc()
            log.info(
                "judged",
                service=service,
                at=verdict.at,
                probability=verdict.probability,
                outcome=verdict.outcome.value,
            )
        if self.calibration.judge(verdicts):
            self._counts.shifts.inc()
            log.warning("the probabilities no longer hold what they did", error=self.calibration.error())
