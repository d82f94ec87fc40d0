"""Whatever is begun, ended and waited for, in whatever order: when all times are over, nothing is broken any more."""

import asyncio
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.chassis.faults import KINDS, LONGEST_SECONDS, MOST_FAULTS, Refused
from shared.chassis.faults.requests import FaultRequest
from tests.fixtures.waiting import until
from tests.unit.chassis.faults.hand import Bench, bench

FIELDS: dict[str, dict[str, Any]] = {
    "http": {"status": 500},
    "network": {"to": "payment", "error": "timeout"},
    "database": {"latency_ms": 10},
    "pool": {"connections": 1},
    "cpu": {"share": 0.01},
    "memory": {"mb_per_second": 5, "max_mb": 2},
    "loop": {"block_ms": 1, "every_ms": 5},
    "clock": {"offset_seconds": 5},
    "idempotency": {},
}
# The one that acts on the whole process, this one with its log too: tests/integration/chassis/test_database_faults.py.
assert KINDS.keys() == FIELDS.keys() | {"disk"}

seconds = st.floats(0.1, LONGEST_SECONDS)
requests = st.builds(
    lambda kind, life: KINDS[kind].model_validate({"kind": kind, "seconds": life, **FIELDS[kind]}),
    st.sampled_from(sorted(FIELDS)),
    seconds,
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("inject"), requests),
        st.tuples(st.just("clear"), st.integers(0, 30)),
        st.tuples(st.just("clear all"), st.none()),
        st.tuples(st.just("advance"), seconds),
        st.tuples(st.just("timers late"), st.booleans()),
    ),
    max_size=25,
)


@pytest.mark.parametrize("cleared_at_the_end", [False, True])
@given(steps=steps)
@settings(max_examples=40, deadline=None)
def test_after_all_times_nothing_is_active(steps: list[tuple[str, Any]], *, cleared_at_the_end: bool) -> None:
    async def run(made: Bench) -> None:
        for what, given_value in steps:
            await _step(made, what, given_value)
        if cleared_at_the_end:
            made.faults.clear()
        else:
            made.timing.advance(LONGEST_SECONDS)
            assert made.faults.active() == []
            made.timing.late = False
            made.timing.advance(0)
        await _assert_nothing_is_left(made)

    with tempfile.TemporaryDirectory() as directory, bench(Path(directory)) as made:
        asyncio.run(run(made))


async def _step(made: Bench, what: str, value: Any) -> None:
    if what == "inject":
        assert isinstance(value, FaultRequest)
        before = len(made.timing.pending)
        try:
            fault = made.faults.inject(value)
        except Refused:
            assert before >= MOST_FAULTS
        else:
            assert fault.runs
    elif what == "clear":
        assert made.faults.clear(f"cpu-{value}") in (0, 1)
    elif what == "clear all":
        made.faults.clear()
        assert made.faults.active() == []
    elif what == "advance":
        made.timing.advance(value)
    else:
        made.timing.late = value
    assert len(made.faults.active()) <= MOST_FAULTS
    await asyncio.sleep(0)


async def _assert_nothing_is_left(made: Bench) -> None:
    assert made.faults.active() == []
    for kind in made.faults.kinds.values():
        assert kind.active == ()
        assert made.value("faults_active", kind.name) == 0
    assert made.timing.pending == []
    assert abs(made.faults.clock.now() - time.time()) < 1
    await made.faults.close()
    await made.database.close()
    until(lambda: not any(thread.name.startswith(("cpu-", "memory-")) for thread in threading.enumerate()))
