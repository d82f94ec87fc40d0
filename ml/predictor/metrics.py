"""What Prometheus is told. A probability that is not known is absent, not 0."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from ml.features.signals import SERVICES
from ml.predictor.ledger import Outcome
from ml.predictor.prediction import State

if TYPE_CHECKING:
    from ml.predictor.watch import Watch

_LATENCY_SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 1.0)


class Counts:
    """What only grows, and the registry of all."""

    def __init__(self, digest: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.latency = Histogram(
            "prediction_latency_seconds",
            "From Prometheus's answers to the prediction with its reasons",
            buckets=_LATENCY_SECONDS,
            registry=self.registry,
        )
        self.outcomes = Counter(
            "prediction_outcomes_total",
            "Predicted minutes of which it is known whether a breach came",
            ("service", "outcome"),
            registry=self.registry,
        )
        self.unjudged = Counter(
            "prediction_unjudged_total",
            "Predicted minutes that nothing is said about: in a breach or close to one, or nobody called",
            ("service",),
            registry=self.registry,
        )
        self.shifts = Counter(
            "prediction_calibration_shifts_total",
            "How often the mean error of the probabilities has changed (ADWIN)",
            registry=self.registry,
        )
        model = Gauge("prediction_model_info", "The model in use", ("sha256",), registry=self.registry)
        model.labels(digest).set(1)
        for service in SERVICES:
            self.unjudged.labels(service)
            for outcome in Outcome:
                self.outcomes.labels(service, outcome.value)


class Now(Collector):
    """What is true at the moment of a scrape."""

    def __init__(self, watch: "Watch") -> None:
        self._watch = watch

    def collect(self) -> Iterable[Metric]:
        """The current predictions, and drift where there is enough to tell."""
        probability = GaugeMetricFamily(
            "failure_probability",
            "Of a breach in 10 to 30 minutes; absent while unknown",
            labels=["service"],
        )
        unknown = GaugeMetricFamily("prediction_unknown", "1 while nothing can be said", labels=["service"])
        warning = GaugeMetricFamily("prediction_warning", "1 while a warning is in force", labels=["service"])
        for service in self._watch.services:
            current = self._watch.current(service)
            unknown.add_metric([service], float(current.state is State.UNKNOWN))
            if current.probability is not None:
                probability.add_metric([service], current.probability)
                warning.add_metric([service], float(current.state is State.WARNING))
        drift = GaugeMetricFamily("prediction_drift", "Population stability index", labels=["feature"])
        for feature, index in self._watch.drift.indices().items():
            drift.add_metric([feature], index)
        yield from (probability, unknown, warning, drift)
        error = self._watch.calibration.error()
        if error is not None:
            yield GaugeMetricFamily("prediction_calibration_error", "Expected calibration error", value=error)
