"""Whatever the predictor says and however the replicas stand: what remediation never does."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ml.features.signals import CALLEES
from ml.remediation.decide import Decider, Decision, Verdict
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Fleet
from ml.remediation.policy import BlastRadius, Kind, Mode, Persistence, Policy, Remedy, Verification, Whom

SERVICES = ("order", "payment", "inventory")
CALLEES_POOL = ("callees_pool",)

policies = st.builds(
    Policy,
    mode=st.sampled_from(Mode),
    persistence=st.just(Persistence(k=1, n=2)),
    control_share=st.sampled_from([0.0, 0.5]),
    cooldown_minutes=st.sampled_from([1, 5, 20]),
    rung_minutes=st.sampled_from([1, 5]),
    blast_radius=st.builds(
        BlastRadius,
        services_at_once=st.integers(1, 3),
        actions_per_hour=st.integers(0, 4),
        step=st.integers(1, 3),
        most_replicas=st.dictionaries(st.sampled_from(SERVICES), st.integers(1, 5)),
    ),
    verification=st.just(Verification(after_minutes=3)),
    remedies=st.lists(st.sampled_from(Kind), min_size=1, max_size=3, unique=True).map(
        lambda kinds: (
            Remedy(actions=tuple(kinds)),
            Remedy(signals=CALLEES_POOL, treat=Whom.CALLEE, actions=tuple(kinds)),
        )
    ),
)
probabilities = st.sampled_from([None, 0.0, 0.1, 0.6, 0.9, 0.95, 1.0])
minutes = st.lists(
    st.fixed_dictionaries(
        {
            "probabilities": st.tuples(*[probabilities] * 3),
            "fleets": st.tuples(*[st.none() | st.builds(Fleet, st.integers(0, 6), st.integers(0, 6))] * 3),
            "stopped": st.sampled_from([False, False, False, True]),
            "approve": st.booleans(),
            "helped": st.booleans(),
            "by_callees": st.booleans(),
        }
    ),
    min_size=10,
    max_size=80,
)


class Run:
    """A decider whose decisions are carried out at once and closed three minutes later; questions wait for a person."""

    def __init__(self, policy: Policy, dice: list[float]) -> None:
        ids, throws = count(), iter(dice * 100)
        self.policy, self.decider = policy, Decider.fresh(lambda: next(throws), lambda: f"alarm-{next(ids)}")
        self.begun: list[tuple[int, Decision]] = []
        self.questions: list[Decision] = []
        self.controls: set[str] = set()
        self.now = 0

    def minute(self, told: Mapping[str, Any]) -> None:
        self.now += 1
        for at, decision in self.begun:
            if at == self.now - 3:
                assert decision.action is not None
                self.decider.history.open.discard(decision.action.service)
                alarm = self.decider.alarm(decision.alarm)
                if alarm and not told["helped"]:
                    alarm.tried.add((decision.action.service, decision.action.kind))
        self.evidence = {
            service: Evidence(
                service,
                probability,
                0.5,
                signals=CALLEES_POOL if told["by_callees"] and service == "order" else (),
            )
            for service, probability in zip(SERVICES, told["probabilities"], strict=True)
        }
        self.fleets = {
            service: fleet for service, fleet in zip(SERVICES, told["fleets"], strict=True) if fleet is not None
        }
        self.stopped = told["stopped"]
        asked = frozenset(each.action.service for each in self.questions if each.action)
        self.decider.observe(self.now, self.evidence, self.policy)
        decisions = self.decider.decide(
            self.now, self.evidence, self.fleets, self.policy, asked=asked, stopped=self.stopped
        )
        self.controls |= {each.alarm for each in decisions if each.control}
        if told["approve"]:
            for question in self.questions:
                assert question.action is not None
                self.check(
                    self.decider.granted(
                        self.now, question.action, question.alarm, self.evidence,
                        self.fleets.get(question.action.service), self.policy, stopped=self.stopped,
                    ),
                    approved=True,
                )  # fmt: skip
            self.questions.clear()
        for decision in decisions:
            action = decision.action
            fleet = self.fleets.get(action.service) if action else None
            # as the loop does: what a person has approved this minute counts, too
            if not (action and fleet and self.decider.refusal(action, decision.alarm, fleet, self.policy, self.now)):
                self.check(decision, approved=False)
            if decision.verdict is Verdict.PROPOSE:
                assert not self.stopped
                assert self.policy.mode is not Mode.SHADOW
                self.questions.append(decision)

    def check(self, decision: Decision, *, approved: bool) -> None:
        if decision.verdict is not Verdict.ACT:
            return
        policy, action = self.policy, decision.action
        assert action is not None
        assert policy.mode is not Mode.SHADOW
        assert not self.stopped
        assert self.evidence[decision.service].probability is not None
        assert decision.alarm not in self.controls
        assert approved or (policy.mode is Mode.AUTO and action.kind is Kind.SCALE)
        service, fleet = action.service, self.fleets[action.service]
        assert service in (decision.service, *CALLEES.get(decision.service, ()))
        assert service in policy.blast_radius.most_replicas
        if action.kind is Kind.SCALE:
            assert action.before == fleet.wanted < action.to <= policy.blast_radius.most_replicas[service]
        elif action.kind is Kind.RESTART:
            assert fleet.wanted >= 2 or fleet.ready == 0
        else:
            assert fleet.ready >= max(2, fleet.wanted)
        own = [(at, each) for at, each in self.begun if each.action and each.action.service == service]
        for at, each in own:
            next_rung = each.alarm == decision.alarm
            assert self.now - at >= (min(policy.rung_minutes, policy.cooldown_minutes) if next_rung else 1)
        if not any(each.alarm == decision.alarm for _, each in own):
            assert all(self.now - at >= policy.cooldown_minutes for at, _ in own)
        hour = [at for at, _ in self.begun if at > self.now - 60]
        assert len(hour) < policy.blast_radius.actions_per_hour
        unverified = {each.action.service for at, each in self.begun if at > self.now - 3 and each.action}
        assert service not in unverified
        assert len(unverified | {service}) <= policy.blast_radius.services_at_once
        self.decider.history.begun(service, self.now)
        self.decider.history.open.add(service)
        alarm = self.decider.alarm(decision.alarm)
        assert alarm is not None
        alarm.begun = True
        self.begun.append((self.now, decision))


@settings(max_examples=150, deadline=None)
@given(policies, minutes, st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_no_action_breaks_mode_limits_cooldown_control_kill_switch_or_acts_on_the_unknown(
    policy: Policy, told: list[dict[str, Any]], dice: list[float]
) -> None:
    run = Run(policy, dice)
    for minute in told:
        run.minute(minute)


def test_the_run_above_does_act_where_it_may() -> None:
    policy = Policy(mode=Mode.AUTO, persistence=Persistence(k=1, n=2), cooldown_minutes=5, control_share=0,
                    blast_radius=BlastRadius(most_replicas={"payment": 4}),
                    remedies=(Remedy(actions=(Kind.SCALE, Kind.RESTART)),))  # fmt: skip
    run = Run(policy, [0.5])
    for _ in range(30):
        fleets = (None, Fleet(2, 2), None)
        run.minute(
            {
                "probabilities": (0.1, 0.9, None),
                "fleets": fleets,
                "stopped": False,
                "approve": True,
                "helped": False,
                "by_callees": False,
            }
        )
    kinds = [decision.action.kind for _, decision in run.begun if decision.action]
    assert kinds == [Kind.SCALE, Kind.RESTART]


@given(st.lists(probabilities, max_size=60))
def test_what_is_unknown_neither_raises_nor_ends_an_alarm(told: list[float | None]) -> None:
    policy = Policy(persistence=Persistence(k=2, n=3))
    decider = Decider.fresh(lambda: 0.9, lambda: "alarm")
    active = False
    for now, probability in enumerate(told):
        decider.observe(now, {"payment": Evidence("payment", probability, 0.5)}, policy)
        alarm = decider.watches["payment"].alarm
        if probability is None:
            assert (alarm is not None) == active
        active = alarm is not None
