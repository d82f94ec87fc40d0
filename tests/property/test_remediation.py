"""Whatever the predictor says and however the replicas stand: what remediation never does."""

from collections.abc import Mapping
from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ml.remediation.decide import Decider, Decision, Verdict
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Fleet
from ml.remediation.policy import BlastRadius, Kind, Mode, Persistence, Policy, Remedy, Verification

SERVICES = ("order", "payment", "inventory")

policies = st.builds(
    Policy,
    mode=st.sampled_from(Mode),
    persistence=st.just(Persistence(k=1, n=2)),
    control_share=st.sampled_from([0.0, 0.5]),
    cooldown_minutes=st.sampled_from([1, 5, 20]),
    blast_radius=st.builds(
        BlastRadius,
        services_at_once=st.integers(1, 3),
        actions_per_hour=st.integers(0, 4),
        step=st.integers(1, 3),
        most_replicas=st.dictionaries(st.sampled_from(SERVICES), st.integers(1, 5)),
    ),
    verification=st.just(Verification(after_minutes=3)),
    remedies=st.lists(st.sampled_from(Kind), min_size=1, max_size=3).map(lambda kinds: (Remedy(actions=tuple(kinds)),)),
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
                self.decider.history.open.discard(decision.service)
                alarm = self.decider.alarm(decision.service, decision.alarm)
                if alarm and not told["helped"]:
                    alarm.rung += 1
        self.evidence = {
            service: Evidence(service, probability, 0.5)
            for service, probability in zip(SERVICES, told["probabilities"], strict=True)
        }
        self.fleets = {
            service: fleet for service, fleet in zip(SERVICES, told["fleets"], strict=True) if fleet is not None
        }
        self.stopped = told["stopped"]
        asked = frozenset(each.service for each in self.questions)
        decisions = self.decider.decide(
            self.now, self.evidence, self.fleets, self.policy, asked=asked, stopped=self.stopped
        )
        self.controls |= {each.alarm for each in decisions if each.control}
        if told["approve"]:
            for question in self.questions:
                assert question.action is not None
                self.check(
                    self.decider.granted(
                        self.now, question.action, question.alarm, self.evidence[question.service],
                        self.fleets.get(question.service), self.policy, stopped=self.stopped,
                    ),
                    approved=True,
                )  # fmt: skip
            self.questions.clear()
        for decision in decisions:
            refused = decision.action and self.fleets.get(decision.service) and self.decider.history.refusal(
                decision.action, self.fleets[decision.service], self.policy, self.now
            )  # fmt: skip
            if not refused:
                self.check(decision, approved=False)
            if decision.verdict is Verdict.PROPOSE:
                assert not self.stopped
                assert self.policy.mode is not Mode.SHADOW
                self.questions.append(decision)

    def check(self, decision: Decision, *, approved: bool) -> None:
        if decision.verdict is not Verdict.ACT:
            return
        policy, action, service = self.policy, decision.action, decision.service
        assert action is not None
        assert policy.mode is not Mode.SHADOW
        assert not self.stopped
        assert self.evidence[service].probability is not None
        assert decision.alarm not in self.controls
        assert approved or (policy.mode is Mode.AUTO and action.kind is Kind.SCALE)
        fleet = self.fleets[service]
        if action.kind is Kind.SCALE:
            assert action.before == fleet.wanted < action.to <= policy.blast_radius.most_replicas[service]
        else:
            assert fleet.ready >= max(2, fleet.wanted)
        own = [at for at, each in self.begun if each.service == service]
        assert all(self.now - at >= policy.cooldown_minutes for at in own)
        hour = [at for at, _ in self.begun if at > self.now - 60]
        assert len(hour) < policy.blast_radius.actions_per_hour
        unverified = {each.service for at, each in self.begun if at > self.now - 3}
        assert len(unverified | {service}) <= policy.blast_radius.services_at_once
        self.decider.history.begun(service, self.now)
        self.decider.history.open.add(service)
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
            {"probabilities": (0.1, 0.9, None), "fleets": fleets, "stopped": False, "approve": True, "helped": False}
        )
    kinds = [decision.action.kind for _, decision in run.begun if decision.action]
    assert kinds == [Kind.SCALE, Kind.RESTART]


@given(st.lists(probabilities, max_size=60))
def test_what_is_unknown_neither_raises_nor_ends_an_alarm(told: list[float | None]) -> None:
    policy = Policy(persistence=Persistence(k=2, n=3))
    decider = Decider.fresh(lambda: 0.9, lambda: "alarm")
    active = False
    for now, probability in enumerate(told):
        decider.decide(now, {"payment": Evidence("payment", probability, 0.5)}, {}, policy)
        alarm = decider.watches["payment"].alarm
        if probability is None:
            assert (alarm is not None) == active
        active = alarm is not None
