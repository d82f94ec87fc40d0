"""What to do this minute: a state machine without a clock, a network or dice of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from ml.remediation.alarms import Alarm, Watch
from ml.remediation.evidence import Evidence
from ml.remediation.ladder import Course, course
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
    """One service, one minute.

    service: the one that is warned of; the action may be one on a service that it calls
    action:  what is, or in shadow would be, done
    alarm:   the id of the alarm
    """

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

    def observe(self, now: float, evidence: Mapping[str, Evidence], policy: Policy) -> frozenset[str]:
        """Take in one minute, once, before `decide`; returns the services whose replicas a decision needs.

        now: minutes
        """
        for seen in evidence.values():
            self._watch(now, seen, policy)
        for alarm in self._alarms():
            if not alarm.control and alarm.service in evidence:
                self._direct(alarm, evidence[alarm.service], evidence, policy)
        return frozenset(
            alarm.course.service
            for alarm in self._alarms()
            if alarm.course and not alarm.closed and self.watches[alarm.service].over
        )

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
        """One minute, when it has been observed: a decision for each service, the likeliest to fail first.

        now:     minutes
        fleets:  of a service that is not in it nobody knows the replicas
        asked:   services with a question that nobody has answered yet
        stopped: the kill switch is thrown, here or in the policy
        """
        decisions: list[Decision] = []
        taken: set[str] = set()
        for each in sorted(evidence.values(), key=lambda one: -(one.probability or 0.0)):
            decision = self._one(now, each, fleets, policy, asked, stopped)
            action = decision.action
            if action is not None and decision.verdict in (Verdict.ACT, Verdict.PROPOSE):
                # two in one minute would each be within limits that both together are over
                if taken:
                    decision = _hold(decision, f"blast radius: {', '.join(sorted(taken))} first this minute")
                else:
                    taken.add(action.service)
            decisions.append(decision)
        return decisions

    def granted(self, now: float, action: Action, alarm: str, evidence: Mapping[str, Evidence], fleet: Fleet | None,
                policy: Policy, *, stopped: bool = False) -> Decision:  # fmt: skip
        """A person has said yes: whether it may be done still. What has changed since then speaks against it."""
        active = self.alarm(alarm)
        service = active.service if active else action.service
        seen = evidence.get(service, Evidence(service, None, unknown="not asked about"))
        refusal = ""
        if stopped or policy.kill_switch:
            refusal = "the kill switch is thrown"
        elif policy.mode is Mode.SHADOW:
            refusal = "the mode is shadow by now"
        elif active is None or active.control:
            refusal = "the alarm is over"
        elif seen.probability is None:
            refusal = f"unknown: {seen.unknown}"
        elif fleet is None:
            refusal = "unknown: nobody knows its replicas"
        elif action.kind is Kind.SCALE and fleet.wanted != action.before:
            refusal = f"it has {fleet.wanted} replicas by now, not {action.before}"
        else:
            refusal = self.refusal(action, alarm, fleet, policy, now)
        if refusal:
            return Decision(Verdict.HOLD, service, refusal, alarm, action)
        return Decision(Verdict.ACT, service, "approved", alarm, action)

    def refusal(self, action: Action, alarm: str, fleet: Fleet, policy: Policy, now: float) -> str:
        """Why an action for an alarm may not be done now, by the limits of the service that it is done to."""
        active = self.alarm(alarm)
        next_rung = active is not None and any(service == action.service for service, _ in active.tried)
        return self.history.refusal(action, fleet, policy, now, next_rung=next_rung)

    def alarm(self, alarm: str) -> Alarm | None:
        """The alarm with that id, as long as it is active."""
        return next((each for each in self._alarms() if each.id == alarm), None)

    def concerned(self, service: str) -> bool:
        """Whether an alarm is treated by what is done to a service."""
        return any(each.course and each.course.service == service for each in self._alarms())

    def goes_on(self, service: str) -> bool:
        """Whether the ladder of one of those alarms has more to try on the service."""
        return any(
            each.course and each.course.service == service and not each.closed and not self._spent(each.course)
            for each in self._alarms()
        )

    def quiet_since(self, *services: str) -> float | None:
        """The minute from which on all of them have been quiet, without an alarm; None: they are not."""
        watches = [self.watches.get(service) for service in services]
        quiet = [each.quiet_since if each and each.alarm is None else None for each in watches]
        return None if None in quiet else max(since for since in quiet if since is not None)

    def _alarms(self) -> Iterator[Alarm]:
        return (watch.alarm for watch in self.watches.values() if watch.alarm)

    def _watch(self, now: float, seen: Evidence, policy: Policy) -> None:
        watch = self.watches.setdefault(seen.service, Watch(seen.service))
        threshold = watch.threshold(seen.threshold, policy, now)
        if watch.see(seen.probability, threshold, policy, now):
            watch.alarm = Alarm(self.new_id(), seen.service, now, control=self.random() < policy.control_share)
        watch.judge(seen.breached, now)

    def _direct(self, alarm: Alarm, seen: Evidence, evidence: Mapping[str, Evidence], policy: Policy) -> None:
        """Settle what is tried about an alarm. What has been begun is gone through, whatever moves most by then."""
        if seen.probability is None:
            return
        found = course(seen, evidence, policy)
        if isinstance(found, str):
            alarm.unsure = found
        elif self._replaces(found, alarm):
            alarm.course = found

    def _replaces(self, found: Course, alarm: Alarm) -> bool:
        before = alarm.course
        if before is None:
            return True
        if alarm.begun and before.specific and not self._spent(before):
            return False
        # the remedy for whatever it is says less than one that a signal had called for
        return found.specific or not before.specific

    def _tried(self, service: str) -> set[Kind]:
        tried = {kind for each in self._alarms() for treated, kind in each.tried if treated == service}
        return tried | ({Kind.SCALE} if service in self.history.kept else set())

    def _spent(self, ladder: Course) -> bool:
        return set(ladder.kinds) <= self._tried(ladder.service)

    def _one(self, now: float, seen: Evidence, fleets: Mapping[str, Fleet], policy: Policy,
             asked: frozenset[str], stopped: bool) -> Decision:  # fmt: skip
        watch = self.watches[seen.service]
        alarm = watch.alarm
        if seen.probability is None:
            return Decision(Verdict.NONE, seen.service, f"unknown: {seen.unknown}", alarm.id if alarm else "")
        if alarm is None:
            return Decision(
                Verdict.NONE, seen.service, "over the threshold, not for long enough" if watch.over else "quiet"
            )
        if alarm.control:
            return Decision(Verdict.HOLD, seen.service, "held out as control", alarm.id, control=True)
        return self._remedy(now, seen, fleets, policy, alarm, asked=asked, stopped=stopped)

    def _remedy(self, now: float, seen: Evidence, fleets: Mapping[str, Fleet], policy: Policy, alarm: Alarm,
                *, asked: frozenset[str], stopped: bool) -> Decision:  # fmt: skip
        ladder = alarm.course
        fleet = fleets.get(ladder.service) if ladder else None
        action = self._next(ladder, fleet, policy) if ladder and fleet else None
        refusal = self._standing(ladder, fleet, policy, alarm, asked=asked, stopped=stopped)
        if not refusal and action is None:
            refusal = "no remedy is left"
        if not refusal and action is not None and fleet is not None:
            refusal = self.refusal(action, alarm.id, fleet, policy, now)
        if refusal or action is None:
            return Decision(Verdict.HOLD, seen.service, refusal, alarm.id)
        if policy.mode is Mode.SHADOW:
            return Decision(Verdict.HOLD, seen.service, f"shadow: would {action}", alarm.id, action)
        automatic = policy.mode is Mode.AUTO and action.kind in AUTOMATIC
        verdict = Verdict.ACT if automatic else Verdict.PROPOSE
        return Decision(verdict, seen.service, f"{seen.probability:.0%} likely to fail", alarm.id, action)

    def _standing(self, ladder: Course | None, fleet: Fleet | None, policy: Policy, alarm: Alarm,
                  *, asked: frozenset[str], stopped: bool) -> str:  # fmt: skip
        """What speaks against any action now."""
        if stopped or policy.kill_switch:
            return "the kill switch is thrown"
        if alarm.closed:
            return alarm.closed
        if ladder is None:
            return alarm.unsure
        treated = self.watches.get(ladder.service)
        if ladder.service != alarm.service and treated and treated.alarm:
            return f"{ladder.service}, which it calls, has an alarm of its own"
        if not self.watches[alarm.service].over:
            return "the alarm is on, but this minute is under the threshold"
        if fleet is None:
            return "unknown: nobody knows its replicas"
        if ladder.service in asked:
            return "a person has been asked"
        return ""

    def _next(self, ladder: Course, fleet: Fleet, policy: Policy) -> Action | None:
        tried = self._tried(ladder.service)
        actions = [_action(kind, ladder.service, fleet, policy) for kind in ladder.kinds if kind not in tried]
        most = policy.blast_radius.most_replicas.get(ladder.service, 0)
        # a service that cannot grow any more is not stuck there: what comes next on the ladder may be tried
        fitting = (each for each in actions if each.to <= most or each.kind is not Kind.SCALE)
        return next(fitting, actions[0] if actions else None)


def _action(kind: Kind, service: str, fleet: Fleet, policy: Policy) -> Action:
    to = fleet.wanted + policy.blast_radius.step if kind is Kind.SCALE else fleet.wanted
    return Action(kind, service, fleet.wanted, to, policy.drain_minutes * 60 if kind is Kind.DRAIN else 0.0)


def _hold(decision: Decision, reason: str) -> Decision:
    return Decision(Verdict.HOLD, decision.service, reason, decision.alarm, decision.action)
