"""A trial's leak is in the code, and its table says what acting was worth."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml.campaigns.platform import ReplicaAway
from ml.features.signals import Scale
from ml.remediation.policy import Kind, Mode, load
from ml.trial.leaks import MEMORY, POOL, Leak
from ml.trial.outcome import ACT, LEAVE, NOTHING, Deed, Outcome
from ml.trial.verdict import met, table, write

SCALE = Scale(minute=1.0, memory_bytes=220 * 2**20)


class Replicas:
    """A platform's replicas, each with the faults that it was given since its start."""

    def __init__(self, *running: str) -> None:
        self.held: dict[str, list[dict[str, Any]]] = {name: [] for name in running}

    def slots(self, service: str) -> list[str]:
        assert service == "payment"
        return ["one", "two", "three"]

    async def faults(self, replica: str) -> list[dict[str, Any]]:
        if replica not in self.held:
            raise ReplicaAway(replica)
        return self.held[replica]

    async def inject(self, replica: str, fault: Mapping[str, Any]) -> str:
        self.held[replica].append(dict(fault))
        return "id"

    def restart(self, replica: str) -> None:
        self.held[replica] = []

    def connections(self) -> dict[str, int]:
        return {name: len(held) for name, held in self.held.items()}


def leak(replicas: Replicas, kind: str) -> Leak:
    return Leak(replicas, "payment", kind, 40.0, SCALE)  # type: ignore[arg-type]


async def test_every_process_leaks_from_its_own_start() -> None:
    replicas = Replicas("one", "two")
    dripping = leak(replicas, POOL)
    await dripping.look(0, 90)
    await dripping.look(20, 70)
    assert replicas.connections() == {"one": 5, "two": 5}
    replicas.held["three"] = []  # scaled out
    await dripping.look(20, 70)
    await dripping.look(40, 50)
    assert replicas.connections() == {"one": 10, "two": 10, "three": 5}


async def test_a_restart_sets_the_leak_back_and_does_not_end_it() -> None:
    replicas = Replicas("one", "two")
    dripping = leak(replicas, POOL)
    for now in (0, 32):
        await dripping.look(now, 90 - now)
    replicas.restart("one")
    for now in (32, 44):
        await dripping.look(now, 90 - now)
    assert replicas.connections() == {"one": 3, "two": 10}


async def test_memory_leaks_once_in_a_process_and_fills_it_in_the_time_it_should() -> None:
    replicas = Replicas("one")
    dripping = leak(replicas, MEMORY)
    for now in (0, 10, 20):
        await dripping.look(now, 90 - now)
    (fault,) = replicas.held["one"]
    assert 100 < fault["mb_per_second"] * 40 < 110
    replicas.restart("one")
    await dripping.look(30, 60)
    assert len(replicas.held["one"]) == 1


async def test_a_process_that_is_too_busy_to_answer_goes_on_leaking_from_where_it_was() -> None:
    replicas = Replicas("one")
    dripping = leak(replicas, POOL)
    await dripping.look(0, 90)
    await dripping.look(20, 70)
    held = replicas.held.pop("one")
    await dripping.look(24, 66)
    replicas.held["one"] = held
    await dripping.look(28, 62)
    assert replicas.connections() == {"one": 7}


LEFT = Outcome(1, LEAVE, POOL, "payment", breach=40, begins=45, warned=30.2)
ACTED = Outcome(
    1, ACT, POOL, "payment", breach=5, begins=80, warned=31.0, done=[Deed(38.4, "restart payment", "helped")]
)
UNHARMED = Outcome(1, NOTHING, "-", "payment")


def test_the_table_gives_both_numbers_what_was_done_and_when_and_that_the_bar_is_met(tmp_path: Path) -> None:
    told = table([LEFT, ACTED, UNHARMED])
    assert "40.0 left alone, 5.0 acted on" in told
    assert "warned of 15 minutes before users saw it left alone, warned of 49 minutes before" in told
    assert "done: restart payment at 38 (helped)" in told
    assert "without a fault: 0 actions" in told
    assert told.splitlines()[-1].startswith("the bar is met: 1 of 1 campaigns warned of")
    write([LEFT, ACTED, UNHARMED], tmp_path / "trial.json")
    found = json.loads((tmp_path / "trial.json").read_text())
    assert found["bar_met"] is True
    assert found["campaigns"][0]["breach_minutes"] == {"leave": 40, "act": 5}
    assert found["episodes"][1]["done"] == [{"minute": 38.4, "what": "restart payment", "verified": "helped"}]


@pytest.mark.parametrize(
    "outcomes",
    [
        [LEFT, replace(ACTED, breach=40), UNHARMED],
        [LEFT, replace(ACTED, done=[]), UNHARMED],
        [LEFT, replace(ACTED, warned=81.0), UNHARMED],
        [replace(LEFT, warned=None), ACTED, UNHARMED],
        [replace(LEFT, breach=0, begins=None), replace(ACTED, breach=0, begins=None), UNHARMED],
        [LEFT, ACTED, replace(UNHARMED, done=[Deed(3, "scale payment")])],
        [LEFT, ACTED],
        [UNHARMED],
    ],
    ids=["no shorter", "nothing done", "warned late", "not warned", "no breach to avoid", "false alarm", "no quiet run",
         "no campaign"],
)  # fmt: skip
def test_the_bar_is_not_met_where_one_part_of_it_is_lacking(outcomes: list[Outcome]) -> None:
    assert not met(outcomes)
    assert "the bar is NOT met" in table(outcomes).splitlines()[-1]


def test_the_trials_policy_can_be_read_and_has_another_replica_serve_before_it_restarts() -> None:
    policy = load(Path("ml/trial/policy.yaml"))
    assert policy.mode is Mode.AUTO
    assert policy.control_share == 0
    for signal in ("memory", "pool"):
        found = policy.remedy([signal])
        assert found is not None
        assert found[0].actions == (Kind.SCALE, Kind.RESTART)
