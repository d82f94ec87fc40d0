"""From the warning of a leak to its cure, rung by rung, on the service that is to blame."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.evidence import Evidence
from ml.remediation.ladder import suspect
from ml.remediation.limits import Fleet
from ml.remediation.policy import DEFAULT
from tests.unit.ml.remediation.platform import Platform

SHIPPED, TRIAL = (yaml.safe_load(file.read_text()) for file in (DEFAULT, Path("ml/trial/policy.yaml")))
LEAK = [{"signals": ["pool"], "actions": ["scale", "restart"]},
        {"signals": ["callees_pool"], "treat": "callee", "actions": ["scale", "restart"]}]  # fmt: skip


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    made: list[Platform] = []

    def platform(**more: Any) -> Platform:
        made.append(Platform(tmp_path, **{"remedies": LEAK} | more))
        return made[-1]

    yield platform
    for each in made:
        each.end()


class Leak:
    """Order has one replica, and each process of it leaks from its start on: warned of at 20 minutes, a breach at 45.

    An operator approves what is asked two minutes later.
    """

    def __init__(self, platform: Platform) -> None:
        self.platform, self.minute, self.ages = platform, 0, [0]
        self.done: list[tuple[int, str]] = []
        self.breach = 0
        platform.replicas.fleets["order"] = Fleet(1, 1)
        platform.moved["order"] = {"pool": 2.0, "latency_p99": 0.4}
        platform.each_minute = self.pass_by

    def pass_by(self) -> None:
        platform, wanted = self.platform, self.platform.replicas.fleets["order"].wanted
        self.minute += 1
        for call in platform.replicas.calls[len(self.done) :]:
            self.done.append((self.minute - 1, str(call[0])))
            self.ages = [0] * wanted if call[0] == "restart" else (self.ages + [0] * wanted)[:wanted]
        self.ages = [age + 1 for age in self.ages]
        platform.probabilities["order"] = 0.8 if max(self.ages) >= 20 else 0.05
        self.breach += max(self.ages) >= 45
        platform.breached = {"order"} if max(self.ages) >= 45 else set()
        for question in platform.approvals.all():
            if question.answer == "waiting" and platform.now - question.asked >= 120:
                platform.approvals.answer(question.id, yes=True, by="the operator")


@pytest.mark.parametrize(("policy", "minutes"), [(TRIAL, [22, 29]), (SHIPPED, [22, 34])], ids=["trial", "shipped"])
async def test_a_leak_is_warned_of_scaled_out_restarted_and_cured_before_users_see_it(
    make: Callable[..., Platform], policy: dict[str, Any], minutes: list[int]
) -> None:
    platform = make(**policy | {"mode": "auto", "control_share": 0})
    leak = Leak(platform)
    await platform.minutes(45)
    assert leak.done == [(minutes[0], "scale"), (minutes[1], "restart")]
    assert leak.breach == 0
    verified = [(each.verification, each.rollback) for each in platform.actions()]
    assert verified == [("not helped", "kept"), ("helped", "not needed")]
    assert platform.actions()[1].approved_by == "the operator"


async def test_left_alone_the_same_leak_is_a_breach(make: Callable[..., Platform]) -> None:
    leak = Leak(make(mode="shadow"))
    await leak.platform.minutes(90)
    assert leak.platform.replicas.calls == []
    assert leak.breach == 46


async def test_the_added_replica_is_given_back_once_when_the_cured_service_has_been_quiet(
    make: Callable[..., Platform],
) -> None:
    platform = make(persistence={"k": 3, "n": 5}, give_back_minutes=30)
    leak = Leak(platform)
    await platform.minutes(40)
    platform.each_minute = lambda: None  # the cause is gone: nothing leaks any more
    await platform.minutes(120)
    assert [call[0] for call in platform.replicas.calls] == ["scale", "restart", "scale"]
    assert platform.replicas.fleets["order"] == Fleet(1, 1)
    assert platform.actions()[0].rollback == "given back"
    assert leak.breach == 0


async def asked_to_restart(platform: Platform) -> str:
    """Payment is warned of, scaled out in vain, and a person is asked to restart it: the question's id."""
    platform.signals, platform.probabilities["payment"] = ("pool",), 0.8
    await platform.minutes(13)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    (question,) = platform.approvals.all()
    assert question.action.kind == "restart"
    return question.id


async def test_when_the_ladder_ends_in_vain_the_added_replica_is_rolled_back_and_nothing_more_is_done(
    make: Callable[..., Platform],
) -> None:
    platform = make()
    platform.approvals.answer(await asked_to_restart(platform), yes=True, by="ada")
    await platform.minutes(60)
    assert platform.replicas.calls[1:] == [("restart", "payment"), ("scale", "payment", 3, 2)]
    assert [each.rollback for each in platform.actions()] == ["done", "impossible"]
    assert platform.reasons()["payment"] == "no remedy is left"


async def test_a_person_who_refuses_the_restart_ends_the_ladder(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.approvals.answer(await asked_to_restart(platform), yes=False, by="ada")
    await platform.minutes(60)
    assert platform.replicas.calls[1:] == [("scale", "payment", 3, 2)]


async def test_the_ladder_that_was_begun_is_gone_through_whatever_moves_most_by_then(
    make: Callable[..., Platform],
) -> None:
    platform = make(remedies=[*LEAK, {"actions": ["scale"]}])
    platform.signals, platform.probabilities["payment"] = ("pool",), 0.8
    await platform.minutes(5)
    platform.signals = ("latency_p99",)
    await platform.minutes(10)
    assert [each.action.kind for each in platform.approvals.all()] == ["restart"]


async def test_a_replica_that_serves_alone_is_not_taken_back(make: Callable[..., Platform]) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.replicas.fleets["payment"] = Fleet(3, 1)
    await platform.minutes(20)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    platform.replicas.fleets["payment"] = Fleet(3, 2)
    await platform.minutes(1)
    assert platform.replicas.calls[1:] == [("scale", "payment", 3, 2)]


async def test_a_new_process_knows_what_was_added_and_goes_on_with_the_restart(make: Callable[..., Platform]) -> None:
    platform = make()
    await asked_to_restart(platform)
    platform.end()
    platform.start()
    await platform.remediator.begin()
    await platform.minutes(15)
    (question,) = platform.approvals.all()
    assert question.action.kind == "restart"
    platform.approvals.answer(question.id, yes=True, by="ada")
    platform.probabilities["payment"] = 0.3
    await platform.minutes(1)
    platform.probabilities["payment"] = 0.05
    await platform.minutes(60)
    assert [call[0] for call in platform.replicas.calls] == ["scale", "restart", "scale"]


async def test_what_was_being_given_back_when_the_process_ended_is_not_given_back_again(
    make: Callable[..., Platform],
) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)

    async def dies(service: str, *, before: int, to: int) -> str:
        raise RuntimeError(f"killed while {service} went from {before} to {to}")

    platform.replicas.scale = dies  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        await platform.minutes(15)
    del platform.replicas.scale  # type: ignore[method-assign]
    platform.end()
    platform.start()
    await platform.remediator.begin()
    platform.probabilities["payment"] = 0.05
    await platform.minutes(90)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    assert platform.actions()[0].rollback == "interrupted"


async def test_a_stack_that_is_away_is_asked_again_later_to_take_a_replica_back(make: Callable[..., Platform]) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.replicas.failing = ActuatorError(Failure.UNAVAILABLE, "down")
    await platform.minutes(12)
    platform.replicas.failing = None
    await platform.minutes(30)
    assert platform.replicas.fleets["payment"] == Fleet(2, 2)
    assert [call[0] for call in platform.replicas.calls] == ["scale"] * 3


async def test_who_suffers_from_a_callee_has_the_callee_treated_in_which_the_signal_moved_most(
    make: Callable[..., Platform],
) -> None:
    platform = make()
    platform.probabilities |= {"order": 0.8, "inventory": 0.4}
    platform.moved = {"order": {"callees_pool": 2.0}, "payment": {"pool": 1.5}, "inventory": {"pool": 0.2}}
    await platform.minutes(13)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    (question,) = platform.approvals.all()
    assert (question.action.service, question.action.kind) == ("payment", "restart")
    assert question.cause.startswith("order is 80% likely to fail")
    platform.approvals.answer(question.id, yes=True, by="ada")
    await platform.minutes(1)
    assert platform.replicas.calls[1:] == [("restart", "payment")]
    platform.probabilities["order"] = 0.05
    await platform.minutes(60)
    assert platform.replicas.calls[2:] == [("scale", "payment", 3, 2)]
    assert [(each.service, each.verification) for each in platform.actions()] == [
        ("order", "not helped"), ("order", "helped"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("most", "done", "asked", "said"),
    [
        ({"order": 4, "payment": 2, "inventory": 4}, [], ["restart"], "a person has been asked"),
        ({"order": 4, "inventory": 4}, [], [], "unknown: nobody knows in whom of those it calls the pool moved"),
    ],
)
async def test_a_callees_own_cap_counts(
    make: Callable[..., Platform], most: dict[str, int], done: list[Any], asked: list[str], said: str
) -> None:
    platform = make(blast_radius={"most_replicas": most})
    platform.probabilities["order"] = 0.8
    platform.moved = {"order": {"callees_pool": 2.0}, "payment": {"pool": 1.5}}
    await platform.minutes(8)
    assert platform.replicas.calls == done
    assert [each.action.kind for each in platform.approvals.all()] == asked
    assert platform.reasons()["order"] == said


async def test_a_callee_with_an_alarm_of_its_own_is_treated_for_that_one_only(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities |= {"order": 0.9, "payment": 0.8}
    platform.moved = {"order": {"callees_pool": 2.0}, "payment": {"pool": 1.5}}
    await platform.minutes(8)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    assert platform.reasons()["order"] == "payment, which it calls, has an alarm of its own"
    assert platform.actions()[0].service == "payment"


def test_a_callee_of_whom_nothing_is_known_may_be_the_one() -> None:
    told = {"payment": Evidence("payment", 0.3), "inventory": Evidence("inventory", None)}
    assert suspect("order", "pool", told) is None
    told["payment"] = Evidence("payment", 0.3, weights={"pool": 1.0})
    assert suspect("order", "pool", told) == "payment"
    told = {"payment": Evidence("payment", 0.1), "inventory": Evidence("inventory", 0.2)}
    assert suspect("order", "pool", told) == "inventory"
    assert suspect("payment", "pool", told) is None
