"""The restart policy: at once, then ever slower up to a bound, and never for a wrong configuration."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from infra.local.control import Control, ControlError, ProgramState
from infra.local.reviver import LONGEST_WAIT, STEADY_AFTER, Policy, Reviver


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeSupervisor(Control):
    """Keeps states in memory; a start makes RUNNING."""

    def __init__(self, **states: tuple[str, int]) -> None:
        super().__init__(Path("/nowhere"))
        self.states = {name.replace("_", "-"): state for name, state in states.items()}
        self.starts: list[str] = []
        self.refusing = False

    def programs(self) -> dict[str, ProgramState]:
        return {name: ProgramState(name, state, 1, 0, code, "") for name, (state, code) in self.states.items()}

    def start(self, name: str) -> None:
        if self.refusing:
            raise ControlError("SPAWN_ERROR")
        self.starts.append(name)
        self.states[name] = ("RUNNING", 0)


def test_waits_grow_from_nothing_to_the_bound() -> None:
    assert [Policy.wait(ends) for ends in range(8)] == [0, 0.5, 1, 2, 4, 8, 15, 15]


@given(st.integers(min_value=0, max_value=10_000))
def test_no_number_of_ends_gives_up_or_exceeds_the_bound(ends: int) -> None:
    assert 0 <= Policy.wait(ends) <= LONGEST_WAIT


def test_a_program_that_lived_long_starts_a_new_story() -> None:
    policy = Policy()
    for _ in range(5):
        policy.started("payment-1", 0.0)
        policy.ended("payment-1", 1.0)
    policy.started("payment-1", 100.0)
    policy.ended("payment-1", 100.0 + STEADY_AFTER)
    assert policy.due(100.0 + STEADY_AFTER) == ["payment-1"]


def test_a_hundred_kills_in_a_row_are_a_hundred_starts(tmp_path: Path) -> None:
    clock, supervisor = Clock(), FakeSupervisor(payment_1=("RUNNING", 0))
    reviver = Reviver(supervisor, tmp_path / "restarts.json", clock)
    for _ in range(100):
        reviver.handle("PROCESS_STATE_RUNNING", "payment-1")
        supervisor.states["payment-1"] = ("EXITED", -1)
        reviver.handle("PROCESS_STATE_EXITED", "payment-1")
        clock.now += reviver.timeout() or 0.0
        reviver.start_due()
    assert supervisor.starts == ["payment-1"] * 100
    assert json.loads((tmp_path / "restarts.json").read_text()) == {"payment-1": 100}


def test_exit_code_78_is_left_alone(tmp_path: Path) -> None:
    supervisor = FakeSupervisor(order_1=("EXITED", 78))
    reviver = Reviver(supervisor, tmp_path / "restarts.json", Clock())
    reviver.handle("PROCESS_STATE_EXITED", "order-1")
    reviver.start_due()
    assert reviver.timeout() is None
    assert supervisor.starts == []


def test_what_somebody_stopped_meanwhile_is_not_started(tmp_path: Path) -> None:
    supervisor = FakeSupervisor(order_1=("EXITED", -1))
    reviver = Reviver(supervisor, tmp_path / "restarts.json", Clock())
    reviver.handle("PROCESS_STATE_EXITED", "order-1")
    supervisor.states["order-1"] = ("STOPPED", 0)
    reviver.start_due()
    assert supervisor.starts == []


def test_a_start_that_fails_is_tried_again_later(tmp_path: Path) -> None:
    clock, supervisor = Clock(), FakeSupervisor(order_1=("EXITED", -1))
    reviver = Reviver(supervisor, tmp_path / "restarts.json", clock)
    supervisor.refusing = True
    reviver.handle("PROCESS_STATE_EXITED", "order-1")
    reviver.start_due()
    supervisor.refusing = False
    clock.now += reviver.timeout() or 0.0
    reviver.start_due()
    assert supervisor.starts == ["order-1"]


def test_a_new_reviver_takes_up_what_ended_while_there_was_none(tmp_path: Path) -> None:
    (tmp_path / "restarts.json").write_text('{"order-1": 4}')
    supervisor = FakeSupervisor(order_1=("EXITED", -1), order_2=("STOPPED", 0), payment_1=("EXITED", 78))
    reviver = Reviver(supervisor, tmp_path / "restarts.json", Clock())
    reviver.catch_up()
    reviver.start_due()
    assert supervisor.starts == ["order-1"]
    assert json.loads((tmp_path / "restarts.json").read_text())["order-1"] == 5
