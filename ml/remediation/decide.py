"""What to do this minute: a state machine without a clock, a network or dice of its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ml.remediation.alarms import Alarm, Watch
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Action, Fleet, History
from ml.remediation.policy import AUTOMATIC, Kind, Mode, Policy


class Verdict(StrEnum):
    """Do it, ask for it, leave it although there is an alarm, or nothing to decide."""

    ACT = "act"
    PROPOSE = "propose"
    HOLD = "hold"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Decision:
    """One service, one minute. `action`: what is, or in shadow would be, done; `alarm`: the id of the alarm."""

    verdict: Verdict
    service: str
    reason: str
    alarm: str = ""
    action: Action | None = None
    control: bool = False


@dataclass(slots=True)
class Decider:
    """Decides for all services.

    random: a number from 0 to 1, for the share of alarms that is held out
    new_id: a name for an alarm
    """

    random: Callable[[], float]
    new_id: Callable[[], str]
    history: History
    watches: dict[str, Watch]

    @classmethod
    def fresh(cls, random: Callable[[], float], new_id: Callable[[], str]) -> "Decider":
        """One that has seen nothing yet."""
        return cls(random, new_id, History(), {})

    def decide(
        self,
        now: float,
        evidence: Mapping[str, Evidence],
        fleets: Mapping[str, Fleet],
        policy: Policy,
        *,
        asked: frozenset[str] = frozenset(),
        stopped: bool = False,
    ) -> list[Decision]:
        """One minute: a decision for each service, the likeliest to fail first.

        now:     minutes
        fleets:  of a service that is not in it nobody knows the replicas
        asked:   services with a question that nobody has answered yet
        stopped: the kill switch is thrown, here or in the policy
        """
        decisions: list[Decision] = []
        taken: set[str] = set()
        for each in sorted(evidence.values(), key=lambda one: -(one.probability or 0.0)):
            decision = self._one(now, each, fleets.get(each.service), policy, asked, stopped)
            if decision.verdict in (Verdict.ACT, Verdict.PROPOSE):
                # two in one minute would each be within limits that both together are over
                if taken:
                    decision = _hold(decision, f"blast radius: {', '.join(sorted(taken))} first this minute")
                else:
                    taken.add(each.service)
            decisions.append(decision)
        return decisions

    def granted(self, now: float, action: Action, alarm: str, seen: Evidence, fleet: Fleet | None, policy: Policy,
                *, stopped: bool = False) -> Decision:  # fmt: skip
        """A person has said yes: whether it may be done still. What has changed since then speaks against it."""
        watch = self.watches.get(action.service)
        active = watch.alarm if watch else None
        refusal = ""
        if stopped or policy.kill_switch:
            refusal = "the kill switch is thrown"
        elif policy.mode is Mode.SHADOW:
            refusal = "the mode is shadow by now"
        elif active is None or active.id != alarm or active.control:
            refusal = "the alarm is over"
        elif seen.probability is None:
            refusal = f"unknown: {seen.unknown}"
        elif fleet is None:
            refusal = "unknown: nobody knows its replicas"
        elif action.kind is Kind.SCALE and fleet.wanted != action.before:
            refusal = f"it has {fleet.wanted} replicas by now, not {action.before}"
        else:
            refusal = self.history.refusal(action, fleet, policy, now)
        if refusal:
            return Decision(Verdict.HOLD, action.service, refusal, alarm, action)
        return Decision(Verdict.ACT, action.service, "approved", alarm, action)

    def alarm(self, service: str, alarm: str) -> Alarm | None:
        """The alarm with that id, as long as it is active."""
        watch = self.watches.get(service)
        return watch.alarm if watch and watch.alarm and watch.alarm.id == alarm else None

    def _one(
        self, now: float, seen: Evidence, fleet: Fleet | None, policy: Policy, asked: frozenset[str], stopped: bool
    ) -> Decision:
        watch = self.watches.setdefault(seen.service, Watch(seen.service))
        threshold = watch.threshold(seen.threshold, policy, now)
        if watch.see(seen.probability, threshold, policy, now):
            watch.alarm = Alarm(self.new_id(), seen.service, now, control=self.random() < policy.control_share)
        watch.judge(seen.breached, now)
        alarm = watch.alarm
        if seen.probability is None:
            return Decision(Verdict.NONE, seen.service, f"unknown: {seen.unknown}", alarm.id if alarm else "")
        if alarm is None:
            return Decision(
                Verdict.NONE, seen.service, "over the threshold, not for long enough" if watch.over else "quiet"
            )
        if alarm.control:
            return Decision(Verdict.HOLD, seen.service, "held out as control", alarm.id, control=True)
        return self._remedy(now, seen, fleet, policy, alarm, asked=asked, stopped=stopped, over=watch.over)

    def _remedy(self, now: float, seen: Evidence, fleet: Fleet | None, policy: Policy, alarm: Alarm,
                *, asked: frozenset[str], stopped: bool, over: bool) -> Decision:  # fmt: skip
        action = _next(seen, fleet, policy, alarm)
        refusal = _standing(seen, fleet, policy, alarm, asked=asked, stopped=stopped, over=over)
        if not refusal and action is None:
            refusal = "no remedy is left"
        if not refusal and action is not None and fleet is not None:
            refusal = self.history.refusal(action, fleet, policy, now)
        if refusal or action is None:
            return Decision(Verdict.HOLD, seen.service, refusal, alarm.id)
        if policy.mode is Mode.SHADOW:
            return Decision(Verdict.HOLD, seen.service, f"shadow: would {action}", alarm.id, action)
        automatic = policy.mode is Mode.AUTO and action.kind in AUTOMATIC
        verdict = Verdict.ACT if automatic else Verdict.PROPOSE
        return Decision(verdict, seen.service, f"{seen.probability:.0%} likely to fail", alarm.id, action)


def _standing(seen: Evidence, fleet: Fleet | None, policy: Policy, alarm: Alarm,
              *, asked: frozenset[str], stopped: bool, over: bool) -> str:  # fmt: skip
    """What speaks against any action now."""
    if stopped or policy.kill_switch:
        return "the kill switch is thrown"
    if alarm.closed:
        return alarm.closed
    if not over:
        return "the alarm is on, but this minute is under the threshold"
    if fleet is None:
        return "unknown: nobody knows its replicas"
    if seen.service in asked:
        return "a person has been asked"
    return ""


def _next(seen: Evidence, fleet: Fleet | None, policy: Policy, alarm: Alarm) -> Action | None:
    left = policy.ladder(seen.signals)[alarm.rung :]
    if fleet is None or not left:
        return None
    actions = [_action(kind, seen.service, fleet, policy) for kind in left]
    most = policy.blast_radius.most_replicas.get(seen.service, 0)
    # a service that cannot grow any more is not stuck there: what comes next on the ladder may be tried
    return next((each for each in actions if each.to <= most or each.kind is not Kind.SCALE), actions[0])


def _action(kind: Kind, service: str, fleet: Fleet, policy: Policy) -> Action:
    to = fleet.wanted + policy.blast_radius.step if kind is Kind.SCALE else fleet.wanted
    return Action(kind, service, fleet.wanted, to, policy.drain_minutes * 60 if kind is Kind.DRAIN else 0.0)


def _hold(decision: Decision, reason: str) -> Decision:
    return Decision(Verdict.HOLD, decision.service, reason, decision.alarm, decision.action)
