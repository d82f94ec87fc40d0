"""What the remediator tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from ml.remediation.actuators.protocol import Failure
from ml.remediation.policy import Kind, Mode

OUTCOMES = ("done", "shadow", "asked", "denied", "expired", "rolled-back", "given-back", *Failure)


class Metrics:
    """`remediation_actions_total`, and what each service is taken for.

    `action` is `none` and `outcome` is `control` for an alarm that is held out.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        labels = ("service", "action", "mode", "outcome")
        self._actions = Counter(
            "remediation_actions", "Actions, by what became of them.", labels, registry=self.registry
        )
        self._unknown = Gauge(
            "remediation_unknown", "1 while nothing is known about the service.", ("service",), registry=self.registry
        )

    def expect(self, services: tuple[str, ...], mode: Mode) -> None:
        """Have the series of a mode there from the start, at 0."""
        for service in services:
            self._unknown.labels(service)
            self._actions.labels(service, "none", mode, "control")
            for kind in Kind:
                for outcome in OUTCOMES:
                    self._actions.labels(service, kind, mode, outcome)

    def count(self, service: str, action: str, mode: Mode, outcome: str) -> None:
        """One more."""
        self._actions.labels(service, action, mode, outcome).inc()

    def known(self, service: str, *, known: bool) -> None:
        """Whether anything is known about it this minute."""
        self._unknown.labels(service).set(0 if known else 1)
