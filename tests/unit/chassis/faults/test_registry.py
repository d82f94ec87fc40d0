"""Faults begin, are bounded, and end: by their time, by request, with the service."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from shared.chassis.database import Database
from shared.chassis.faults import KINDS, MOST_FAULTS, ClockFault, CpuFault, Faults, HttpFault, Refused
from tests.unit.chassis.faults.hand import Bench, bench


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Bench]:
    with bench(tmp_path) as opened:
        yield opened


def slow(seconds: float = 10, **more: Any) -> HttpFault:
    return HttpFault(latency_ms=100, seconds=seconds, **more)


def test_every_kind_is_measured_from_the_start_at_nothing(made: Bench) -> None:
    for kind in KINDS:
        assert made.value("faults_active", kind) == 0
        assert made.value("faults_struck_total", kind) == 0


def test_a_fault_ends_by_itself_when_its_time_is_over(made: Bench, logged: list[dict[str, Any]]) -> None:
    fault = made.faults.inject(slow(10, experiment="exp-1"))
    made.timing.advance(9.9)
    assert (fault.runs, fault.left, made.value("faults_active", "http")) == (True, pytest.approx(0.1), 1)
    made.timing.advance(0.1)
    assert (fault.runs, fault.over.is_set(), made.faults.active()) == (False, True, [])
    assert made.faults.http.active == ()
    assert made.value("faults_active", "http") == 0
    told = [(record["event"], record["fault"], record["experiment"]) for record in logged]
    assert told == [("fault begins", "http-1", "exp-1"), ("fault is over", "http-1", "exp-1")]


def test_a_fault_whose_time_is_over_strikes_no_more_though_no_thread_had_the_time_to_end_it(made: Bench) -> None:
    fault = made.faults.inject(ClockFault(offset_seconds=5_000, seconds=10))
    made.timing.late = True
    made.timing.advance(10)
    assert not fault.over.is_set()
    assert (fault.runs, list(made.faults.clock.running()), made.faults.active()) == (False, [], [])
    assert made.value("faults_active", "clock") == 0


def test_clearing_ends_one_or_all_at_once_and_says_how_many(made: Bench) -> None:
    first, second, third = (made.faults.inject(slow()) for _ in range(3))
    assert made.faults.clear(second.id) == 1
    assert made.faults.clear(second.id) == 0
    assert made.faults.clear("http-77") == 0
    assert [fault.id for fault in made.faults.active()] == [first.id, third.id]
    assert made.faults.clear() == 2
    assert made.timing.pending == []


def test_more_than_twenty_faults_are_refused_and_one_that_ended_makes_room(made: Bench) -> None:
    for _ in range(MOST_FAULTS - 1):
        made.faults.inject(slow(10))
    made.faults.inject(slow(5))
    with pytest.raises(Refused, match="20 faults already"):
        made.faults.inject(slow())
    made.timing.advance(5)
    made.faults.inject(slow())


def test_a_fault_that_cannot_get_its_end_does_not_begin(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(*_: Any) -> Any:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(made.timing, "call_later", no_thread)
    with pytest.raises(RuntimeError):
        made.faults.inject(CpuFault(share=0.5, seconds=10))
    assert made.faults.active() == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cpu-")]


def test_a_fault_that_fails_to_begin_leaves_nothing(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError("no")

    monkeypatch.setattr(made.faults.kinds["cpu"], "begin", fail)
    with pytest.raises(OSError, match="no"):
        made.faults.inject(CpuFault(share=0.5, seconds=10))
    assert (made.faults.active(), made.timing.pending) == ([], [])


async def test_faults_that_are_switched_off_are_refused(tmp_path: Path) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path}/none.sqlite")
    faults = Faults(CollectorRegistry(), database, allowed=False)
    with pytest.raises(Refused, match="FAULT_INJECTION"):
        faults.inject(slow())


async def test_when_the_service_stops_all_faults_end_and_no_new_one_begins(made: Bench) -> None:
    fault = made.faults.inject(slow())
    await made.faults.close()
    assert fault.over.is_set()
    with pytest.raises(Refused):
        made.faults.inject(slow())


def test_a_struck_span_names_the_fault_and_its_experiment(made: Bench) -> None:
    fault = made.faults.inject(slow(experiment="exp-1"))
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        fault.strike()
    (event,) = span.events  # type: ignore[attr-defined]
    assert event.name == "fault.struck"
    assert dict(event.attributes) == {"fault.kind": "http", "fault.id": fault.id, "experiment.id": "exp-1"}
    assert span.attributes["experiment.id"] == "exp-1"  # type: ignore[attr-defined]
    assert (fault.struck, made.value("faults_struck_total", "http")) == (1, 1)
