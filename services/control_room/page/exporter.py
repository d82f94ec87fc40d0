"""Tells Prometheus which experiment runs, as its runner writes it down: itself it is gone too soon to be scraped."""

from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.control_room.page.sources.experiments import under_way

_MOST_SCENARIOS = 64


class ExperimentCollector(Collector):
    """`chaos_experiment_active{scenario}`: 1 while one runs, 0 for those that this process has seen run before.

    Where none has run yet there is `scenario="none"` with 0, so that nothing is told apart from not knowing.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._seen: dict[str, None] = {}

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """The metric without values: registering reads no file."""
        yield _family()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Look at this moment."""
        family, running = _family(), under_way(self._runs)
        scenario = str(running["what"]) if running else ""
        if scenario and (scenario in self._seen or len(self._seen) < _MOST_SCENARIOS):
            self._seen[scenario] = None
        for name in self._seen or ["none"]:
            family.add_metric([name], float(name == scenario))
        yield family


def _family() -> GaugeMetricFamily:
    return GaugeMetricFamily("chaos_experiment_active", "1 while this experiment runs", labels=["scenario"])
