"""Watches the platform while an experiment runs, and writes down what it sees."""

import logging
import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx

from chaos.metrics import ALWAYS, Prometheus, readings
from chaos.recording import Recording
from chaos.targets.target import Replica, Target, TargetError
from chaos.traffic import Traffic

logger = logging.getLogger("chaostoolkit")

_EVERY_SECONDS = 0.5
_SCRAPE_SECONDS = 1.5


class Observer:
    """A thread that looks twice a second at the processes, and once at metrics and alerts, until it is stopped.

    What cannot be read is left out: that a replica does not answer is what experiments are about.
    """

    def __init__(self, target: Target, recording: Recording, traffic: Traffic, metrics: Collection[str] = ()) -> None:
        self._target = target
        self._recording = recording
        self._traffic = traffic
        self._wanted = ALWAYS | frozenset(metrics)
        self._queries: Sequence[str] = ()
        self._breakers: dict[tuple[str, str], str] = {}
        self._client = httpx.Client(timeout=_SCRAPE_SECONDS, trust_env=False)
        self._pool = ThreadPoolExecutor(12)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="observer", daemon=True)

    def start(self, queries: Sequence[str] = ()) -> None:
        """Begin to look; `queries` are PromQL, asked once a second."""
        self._queries = queries
        self._thread.start()

    def stop(self) -> None:
        """Look a last time, then no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join(10)
            self.look()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    def _watch(self) -> None:
        turn = 0
        while not self._over.wait(_EVERY_SECONDS):
            turn += 1
            try:
                self._traffic.read()
                self._look_at_processes()
                if turn % 2:
                    self._look_at_metrics()
            except (TargetError, httpx.HTTPError, OSError, ValueError) as error:
                logger.debug("Not seen: %s", error)

    def look(self) -> None:
        """Look once at everything."""
        try:
            self._look_at_processes()
            self._look_at_metrics()
        except (TargetError, httpx.HTTPError, OSError, ValueError) as error:
            logger.debug("Not seen: %s", error)

    def _look_at_processes(self) -> None:
        now = time.time()
        for program in self._target.programs():
            self._recording.process(now, program.name, program.state, program.pid)

    def _look_at_metrics(self) -> None:
        asked = [self._pool.submit(self._scrape, replica) for replica in self._target.replicas()]
        if self._target.addresses.prometheus:
            asked.append(self._pool.submit(self._ask_prometheus))
        for future in asked:
            future.result()
        self._mark_breakers()

    def _scrape(self, replica: Replica) -> None:
        try:
            response = self._client.get(f"{replica.url}/metrics")
        except httpx.HTTPError:
            return
        if response.status_code == 200:
            self._recording.sample(time.time(), readings(response.text, replica, self._wanted))

    def _ask_prometheus(self) -> None:
        prometheus = Prometheus(self._target.addresses.prometheus, self._client)
        try:
            states = prometheus.alerts()
            now = time.time()
            for name in {*states, *self._recording.alerts}:
                self._recording.alert(now, name, states.get(name, "resolved"))
            for query in self._queries:
                values = prometheus.query(query)
                self._recording.queries.setdefault(query, []).append((now, max(values, default=0.0)))
        except (httpx.HTTPError, ValueError, KeyError) as error:
            logger.debug("Prometheus: %s", error)

    def _mark_breakers(self) -> None:
        for name in self._recording.breakers():
            for instance, states in self._recording.breaker_states(name).items():
                at, state = states[-1]
                before = self._breakers.get((name, instance))
                if before is not None and before != state:
                    self._recording.mark(at, "breaker", f"{name} of {instance}: {before} -> {state}")
                self._breakers[name, instance] = state
