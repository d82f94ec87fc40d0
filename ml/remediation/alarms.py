"""From a service's probabilities, a minute at a time, to alarms: k of n, hysteresis, a budget for those in vain."""

from collections import deque
from dataclasses import dataclass, field

from ml.remediation.ladder import Course
from ml.remediation.policy import Kind, Policy

HORIZON = 30.0
"""Minutes after an alarm in which a breach makes it right."""
DAY = 1440.0


@dataclass(slots=True)
class Alarm:
    """One alarm of a service; times in minutes.

    control: held out: nothing is done about it, to know what acting is worth
    course:  what is tried about it, and on whom; `unsure` says why nobody knows
    begun:   something of it has been done or asked for, so that it is gone through to its end
    tried:   what was done to which service and did not help
    closed:  why no further remedy is tried; empty as long as one may be
    """

    id: str
    service: str
    raised: float
    control: bool
    course: Course | None = None
    unsure: str = ""
    begun: bool = False
    tried: set[tuple[str, Kind]] = field(default_factory=set)
    closed: str = ""
    acted: bool = False
    ended: float | None = None


@dataclass(slots=True)
class Watch:
    """One service under watch."""

    service: str
    alarm: Alarm | None = None
    over: bool = False
    quiet_since: float | None = None
    _recent: deque[tuple[bool, bool]] = field(default_factory=lambda: deque(maxlen=60))
    _in_vain: deque[float] = field(default_factory=lambda: deque(maxlen=1000))
    _to_judge: deque[Alarm] = field(default_factory=lambda: deque(maxlen=100))

    def threshold(self, told: float, policy: Policy, now: float) -> float:
        """The model's threshold, at least the policy's lowest; nearer to 1 with each alarm in vain over the budget."""
        while self._in_vain and self._in_vain[0] <= now - DAY:
            self._in_vain.popleft()
        lowest = max(told, policy.lowest_threshold)
        over = max(0.0, len(self._in_vain) - policy.false_alarms_per_day)
        return lowest if lowest >= 1 else 1 - (1 - lowest) * 0.5**over

    def see(self, probability: float | None, threshold: float, policy: Policy, now: float) -> bool:
        """Take in one minute; true when an alarm is due. None (unknown) neither raises an alarm nor ends one."""
        known = probability is not None
        self.over = known and probability >= threshold  # type: ignore[operator]
        calm = known and probability < threshold * policy.release_ratio  # type: ignore[operator]
        self._recent.append((self.over, calm))
        last = list(self._recent)[-policy.persistence.n :]
        if not calm:
            self.quiet_since = None
        elif self.quiet_since is None:
            self.quiet_since = now
        if self.alarm is None:
            return self.over and sum(over for over, _ in last) >= policy.persistence.k
        if len(last) == policy.persistence.n and all(calm for _, calm in last):
            self.alarm.ended = now
            if not self.alarm.acted:
                self._to_judge.append(self.alarm)
            self.alarm = None
            self._recent.clear()
        return False

    def judge(self, breached: bool | None, now: float) -> None:
        """Count alarms that nobody acted on and that no breach followed. One that cannot be told counts as in vain."""
        if breached:
            self._to_judge.clear()
            if self.alarm is not None:
                self.alarm.acted = True  # it was right: it is not to be judged again
            return
        while self._to_judge and now - (self._to_judge[0].ended or 0) >= HORIZON:
            self._to_judge.popleft()
            self._in_vain.append(now)
