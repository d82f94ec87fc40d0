"""Faults in the stack end when their lease is over, whoever holds it, and however often they are ended."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.envoy.admin import AdminError
from infra.envoy.topology import members
from infra.local import leases
from infra.local.control import ControlError
from infra.local.leases import AGAIN_SECONDS, DRAIN, LONGEST_SECONDS, MESH, PAUSE, STOP, Keeper, Lease, Leases
from infra.local.processes import family
from tests.fixtures.waiting import until
from tests.unit.local.test_local_reviver import Clock, FakeSupervisor

FOREVER = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)'])"


class World:
    """Leases, who ends them, and a supervisor that never was."""

    def __init__(self, directory: Path, **states: str) -> None:
        self.clock, self.leases = Clock(), Leases(directory / "faults")
        self.supervisor = FakeSupervisor(**{name: (state, 0) for name, state in states.items()})
        self.keeper = self.new_keeper()

    def new_keeper(self) -> Keeper:
        return Keeper(self.leases, self.supervisor, self.clock)

    def lease(self, kind: str = STOP, target: str = "payment-1", seconds: float = 10, **more: object) -> Lease:
        made = Lease(f"{kind}-{target.split()[0]}", kind, target, self.clock.now + seconds, **more)  # type: ignore[arg-type]
        self.leases.write(made)
        return made


@pytest.fixture
def two_processes() -> Iterator[psutil.Process]:
    """A process with a child, both alive for long."""
    code = f"{FOREVER}; time.sleep(99)"
    with subprocess.Popen([sys.executable, "-c", code]) as started:
        parent = psutil.Process(started.pid)
        until(parent.children)
        try:
            yield parent
        finally:
            for pid in reversed(family(parent.pid)):
                psutil.Process(pid).kill()


def test_a_stopped_program_is_started_again_when_its_time_is_over_and_not_before(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPED")
    world.lease(seconds=10)
    assert world.keeper.timeout() == 10
    world.clock.now += 9
    assert (world.keeper.end_due(), world.supervisor.starts, world.keeper.timeout()) == ([], [], 1)
    world.clock.now += 1
    assert (world.keeper.end_due(), world.supervisor.starts) == ([], ["payment-1"])
    assert (world.leases.all(), world.keeper.timeout()) == ([], None)


def test_a_keeper_that_comes_late_ends_what_was_over_meanwhile(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPED", order_1="STOPPED")
    world.lease(seconds=10)
    world.lease(target="order-1", seconds=500)
    world.clock.now += 100
    late = world.new_keeper()
    assert late.timeout() == 0
    late.end_due()
    assert world.supervisor.starts == ["payment-1"]
    assert [lease.target for lease in world.leases.all()] == ["order-1"]


@pytest.mark.parametrize("state", ["RUNNING", "EXITED"])
def test_a_program_that_is_not_stopped_is_left_to_whoever_started_it(tmp_path: Path, state: str) -> None:
    world = World(tmp_path, payment_1=state)
    world.lease(seconds=0)
    assert (world.keeper.end_due(), world.supervisor.starts, world.leases.all()) == ([], [], [])


def test_a_program_that_is_still_stopping_is_started_once_it_has(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPING")
    world.lease(seconds=0)
    assert world.keeper.end_due() == ["stop-payment-1: payment-1 is still stopping"]
    assert world.keeper.timeout() == AGAIN_SECONDS
    world.supervisor.states["payment-1"] = ("STOPPED", 0)
    assert (world.keeper.end_due(), world.supervisor.starts) == ([], ["payment-1"])


def test_what_cannot_be_ended_now_is_over_all_the_same_and_tried_again(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPED")
    lease = world.lease(seconds=300)
    world.supervisor.refusing = True
    assert world.keeper.end([lease]) == ["stop-payment-1: SPAWN_ERROR"]
    world.supervisor.refusing = False
    assert world.new_keeper().end_due() == []
    assert world.supervisor.starts == ["payment-1"]


def test_releasing_forgets_the_leases_of_those_programs_and_starts_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPED", order_1="STOPPED")
    world.lease()
    world.lease(target="order-1")
    world.keeper.release(["payment-1"])
    assert [lease.target for lease in world.leases.all()] == ["order-1"]
    world.keeper.release()
    assert (world.leases.all(), world.supervisor.starts) == ([], [])


def test_a_paused_family_of_processes_goes_on_at_the_end(tmp_path: Path, two_processes: psutil.Process) -> None:
    world = World(tmp_path)
    members = [psutil.Process(pid) for pid in family(two_processes.pid)]
    assert len(members) == 2
    lease = world.lease(PAUSE, pids=tuple(each.pid for each in members))
    leases.suspend(lease.pids)
    until(lambda: all(each.status() == psutil.STATUS_STOPPED for each in members))
    world.clock.now += 10
    assert world.keeper.end_due() == []
    until(lambda: not any(each.status() == psutil.STATUS_STOPPED for each in members))


def test_pausing_what_has_ended_harms_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    lease = world.lease(PAUSE, pids=(ended.pid,))
    leases.suspend(lease.pids)
    assert (world.keeper.end([lease]), world.leases.all()) == ([], [])


def test_the_meshs_fault_ended_with_the_envoy_that_had_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.lease(MESH, "payment /process", 0, socket=str(tmp_path / "none.sock"), keys=("a",))
    assert (world.keeper.end_due(), world.leases.all()) == ([], [])


def test_the_meshs_keys_are_taken_out_of_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, str]] = []

    def modify(_: object, entries: dict[str, str]) -> None:
        told.append(entries)
        if len(told) == 1:
            raise AdminError("Envoy does not answer")

    monkeypatch.setattr(leases.Admin, "modify_runtime", modify)
    world = World(tmp_path)
    (tmp_path / "envoy.sock").touch()
    world.lease(MESH, "payment /process", 0, socket=str(tmp_path / "envoy.sock"), keys=("a", "b"))
    assert world.keeper.end_due() == ["mesh-payment: Envoy does not answer"]
    assert (world.keeper.end_due(), world.leases.all()) == ([], [])
    assert told[-1] == {"a": "", "b": ""}


def test_a_clock_that_is_set_back_makes_no_lease_longer_than_leases_may_be(tmp_path: Path) -> None:
    world = World(tmp_path, payment_1="STOPPED")
    world.lease(seconds=LONGEST_SECONDS)
    world.clock.now -= 3_600
    world.keeper.end_due()
    assert world.supervisor.starts == ["payment-1"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"id": "x", "pids": 7, "keys": []}'])
def test_a_file_that_is_no_lease_stops_nobody(tmp_path: Path, text: str) -> None:
    world = World(tmp_path, payment_1="STOPPED")
    world.lease(seconds=0)
    (tmp_path / "faults" / "odd.json").write_text(text)
    assert (world.keeper.end_due(), world.supervisor.starts) == ([], ["payment-1"])
    assert list((tmp_path / "faults").iterdir()) == []


def test_a_supervisor_that_does_not_answer_does_not_keep_a_pause_from_ending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)

    def gone(_: object) -> None:
        raise ControlError("no answer")

    monkeypatch.setattr(FakeSupervisor, "programs", gone)
    world.lease(PAUSE, seconds=0)
    assert (world.keeper.end_due(), world.leases.all()) == ([], [])


def drained(world: World, file: Path, name: str = "payment-2") -> Lease:
    return world.lease(DRAIN, name, 10, file=str(file), address="127.0.0.1", port=8112)


def members_in(file: Path) -> list[str]:
    listed = json.loads(file.read_text())["resources"][0]["endpoints"][0]["lb_endpoints"]
    return [each["endpoint"]["hostname"] for each in listed]


def test_a_drained_replica_is_let_back_once_when_its_time_is_over(tmp_path: Path) -> None:
    world, file = World(tmp_path, payment_2="RUNNING"), tmp_path / "payment-v1.json"
    file.write_text(json.dumps(members("payment-v1", {"payment-1": ("127.0.0.1", 8111)})))
    drained(world, file)
    assert world.keeper.end_due() == []
    assert members_in(file) == ["payment-1"]
    world.clock.now += 10
    assert world.keeper.end_due() == []
    assert members_in(file) == ["payment-1", "payment-2"]
    assert world.leases.all() == []


def test_a_drained_replica_that_was_scaled_away_is_not_let_back(tmp_path: Path) -> None:
    world, file = World(tmp_path, payment_2="STOPPED"), tmp_path / "payment-v1.json"
    file.write_text(json.dumps(members("payment-v1", {})))
    drained(world, file)
    world.clock.now += 10
    assert (world.keeper.end_due(), members_in(file), world.leases.all()) == ([], [], [])


def test_a_members_file_that_cannot_be_read_is_tried_again(tmp_path: Path) -> None:
    world, file = World(tmp_path, payment_2="RUNNING"), tmp_path / "payment-v1.json"
    file.write_text("{")
    drained(world, file)
    world.clock.now += 10
    (failure,) = world.keeper.end_due()
    assert "payment-2 is not in the mesh again" in failure
    file.write_text(json.dumps(members("payment-v1", {})))
    assert (world.keeper.end_due(), members_in(file)) == ([], ["payment-2"])
