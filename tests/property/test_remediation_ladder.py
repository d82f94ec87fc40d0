"""Whatever becomes of a platform and its warnings: what the remediator, as a whole, never does to it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ml.remediation.acting import Acting
from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.approvals import Approvals
from ml.remediation.audit import Record
from ml.remediation.decide import Decider
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Fleet
from ml.remediation.loop import Files, Remediator
from ml.remediation.metrics import Metrics
from ml.remediation.policy import BlastRadius, Kind, Mode, Persistence, Policy, Remedy, Verification, Whom

SERVICES = ("order", "payment", "inventory")
MOST = {"order": 3, "payment": 3}
FIRST = {"order": 1, "payment": 2, "inventory": 1}

ladders = st.sampled_from([(Kind.SCALE,), (Kind.SCALE, Kind.RESTART), (Kind.RESTART, Kind.SCALE)])
policies = st.builds(
    lambda own, callees: Policy(
        mode=Mode.AUTO, control_share=0, persistence=Persistence(k=1, n=2), cooldown_minutes=2, rung_minutes=1,
        blast_radius=BlastRadius(services_at_once=2, actions_per_hour=30, most_replicas=MOST),
        verification=Verification(after_minutes=2), give_back_minutes=4, approval_minutes=4,
        remedies=(Remedy(signals=("callees_pool",), treat=Whom.CALLEE, actions=callees), Remedy(actions=own)),
    ),
    ladders,
    ladders,
)  # fmt: skip
turns = st.lists(
    st.fixed_dictionaries(
        {
            "probabilities": st.tuples(*[st.sampled_from([0.05, 0.9, 0.9, None])] * 3),
            "by_callees": st.booleans(),
            "unready": st.sampled_from([None, None, ("order", 0), ("payment", 0), ("payment", 1), ("order", 1)]),
            "stopped": st.sampled_from([False, False, False, True]),
            "away": st.sampled_from([False, False, True]),
            "answer": st.sampled_from([True, True, False, None]),
            "dies": st.sampled_from([False] * 6 + [True]),
        }
    ),
    min_size=8,
    max_size=30,
)


@dataclass
class World:
    """Replicas, each ready or not. Whatever is done to them is checked."""

    name = "world"
    ready: dict[str, list[bool]] = field(default_factory=lambda: {name: [True] * n for name, n in FIRST.items()})
    stopped: bool = False
    away: bool = False
    ups: list[str] = field(default_factory=list)
    restarts: int = 0

    async def fleet(self, service: str) -> Fleet:
        return Fleet(len(self.ready[service]), sum(self.ready[service]))

    async def scale(self, service: str, *, before: int, to: int) -> str:
        self._may_be_touched(service)
        replicas = self.ready[service]
        assert len(replicas) == before, "nobody else scales here: it has lost count"
        served = any(replicas)
        if to > before:
            assert to <= MOST[service]
            self.ups.append(service)
        else:
            self.ups.remove(service)  # an error: given back what had never been added, or twice
        self.ready[service] = replicas[:to] + [True] * (to - before)
        assert any(self.ready[service]) or not served
        return "scaled"

    async def restart(self, service: str) -> str:
        self._may_be_touched(service)
        replicas = self.ready[service]
        served = any(replicas)
        for index in sorted(range(len(replicas)), key=lambda each: replicas[each]):
            replicas[index] = False
            assert any(replicas) or not served, "nobody serves"
            replicas[index] = served = True
        self.restarts += 1
        return "restarted"

    async def drain(self, service: str, seconds: float) -> str:
        raise AssertionError(f"{service} {seconds}: on none of these ladders")

    async def undrain(self, service: str, drained: str) -> str:
        raise AssertionError(f"{service} {drained}: on none of these ladders")

    def _may_be_touched(self, service: str) -> None:
        assert not self.stopped, "the kill switch is thrown"
        assert service in MOST, "the policy does not name it"
        if self.away:
            raise ActuatorError(Failure.UNAVAILABLE, "down")


class Notes:
    """An audit without a disk."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def write(self, record: Record) -> None:
        self._records[record.id] = record

    def records(self) -> dict[str, Record]:
        return self._records


class Told:
    """What is known, as the test says."""

    now: dict[str, Evidence]

    async def evidence(self, services: Iterable[str], now: float, stale_seconds: float) -> dict[str, Evidence]:
        assert now > stale_seconds
        return {service: self.now[service] for service in services}


class Life:
    """A remediator, and the processes that come after it."""

    def __init__(self, policy: Policy) -> None:
        self.policy, self.minute, self.world, self.notes, self.told = policy, 100_000, World(), Notes(), Told()
        self._ids = count()
        self.start()

    def start(self) -> None:
        clock = lambda: self.minute * 60.0  # noqa: E731
        new_id = lambda: f"id-{next(self._ids)}"  # noqa: E731
        decider, metrics, self.approvals = Decider.fresh(lambda: 0.9, new_id), Metrics(), Approvals(clock)
        self.acting = Acting(self.world, self.notes, decider, metrics, clock, 60.0)  # type: ignore[arg-type]

        class Settled(Remediator):
            def _read_policy(inner) -> Policy:  # noqa: N805
                return self.policy

            @property
            def stopped(inner) -> bool:  # noqa: N805
                return self.world.stopped

        self.remediator = Settled(
            Files(Path("nowhere"), Path("nowhere")), self.told, self.world,  # type: ignore[arg-type]
            self.acting, decider, self.approvals, metrics, clock, new_id,
        )  # fmt: skip

    async def turn(self, probabilities: Sequence[float | None], signals: tuple[str, ...] = ()) -> None:
        self.minute += 1
        self.told.now = {
            service: Evidence(
                service,
                probability,
                0.5,
                signals=signals if service == "order" else (),
                weights={"pool": 1.0} if signals and service == "payment" else {},
            )
            for service, probability in zip(SERVICES, probabilities, strict=True)
        }
        await self.remediator.minute()
        await self.acting.settled()

    async def play(self, told: dict[str, Any]) -> None:
        self.world.stopped, self.world.away = told["stopped"], told["away"]
        if told["unready"]:
            service, index = told["unready"]
            self.world.ready[service][index : index + 1] = [False] * len(self.world.ready[service][index : index + 1])
        for question in self.approvals.all():
            if question.answer == "waiting" and told["answer"] is not None and self.minute * 60 < question.expires:
                self.approvals.answer(question.id, yes=told["answer"], by="ada")
        if told["dies"]:
            self.start()
            await self.remediator.begin()
        await self.turn(told["probabilities"], ("callees_pool",) if told["by_callees"] else ())

    async def rest(self) -> None:
        """All is well again, for long."""
        self.world.stopped = self.world.away = False
        for service, replicas in self.world.ready.items():
            self.world.ready[service] = [True] * len(replicas)
        for _ in range(25):
            await self.turn((0.01, 0.01, 0.01))


@settings(max_examples=40, deadline=None)
@given(policies, turns)
async def test_somebody_always_serves_nothing_is_done_when_killed_and_what_was_added_is_given_back_once(
    policy: Policy, told: list[dict[str, Any]]
) -> None:
    life = Life(policy)
    for turn in told:
        await life.play(turn)
    await life.rest()
    assert life.world.ups == []
    assert {name: len(replicas) for name, replicas in life.world.ready.items()} == FIRST


async def test_the_life_above_scales_out_and_restarts_a_callee_where_it_may() -> None:
    life = Life(Policy(mode=Mode.AUTO, control_share=0, persistence=Persistence(k=1, n=2), cooldown_minutes=2,
                       rung_minutes=1, blast_radius=BlastRadius(most_replicas=MOST), give_back_minutes=4,
                       verification=Verification(after_minutes=2),
                       remedies=(Remedy(signals=("callees_pool",), treat=Whom.CALLEE,
                                        actions=(Kind.SCALE, Kind.RESTART)),)))  # fmt: skip
    calm = {"by_callees": True, "unready": None, "stopped": False, "away": False, "answer": True, "dies": False}
    for _ in range(5):
        await life.play(calm | {"probabilities": (0.9, 0.3, 0.1)})
    assert life.world.ups == ["payment"]
    assert life.world.restarts == 1
    await life.rest()
    assert life.world.ups == []
