"""Cooldown and blast radius: what an action would have to wait for, or may not do at all."""

from collections import deque
from dataclasses import dataclass, field

from ml.remediation.policy import Kind, Policy

HOUR = 60.0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The replicas of one service: how many should run, and how many are ready."""

    wanted: int
    ready: int


@dataclass(frozen=True, slots=True)
class Action:
    """What is to be done. `before` and `to` are replicas (the same unless it scales); `seconds` that a drain lasts."""

    kind: Kind
    service: str
    before: int
    to: int
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.kind is Kind.SCALE:
            return f"scale {self.service} from {self.before} to {self.to} replicas"
        if self.kind is Kind.DRAIN:
            return f"drain one replica of {self.service} for {self.seconds:g} s"
        return f"restart {self.service}, one replica after the other"


@dataclass(slots=True)
class History:
    """What has been done, and what of it is not verified yet; minutes.

    kept: services with an added replica that did not help and serves on meanwhile
    """

    open: set[str] = field(default_factory=set)
    kept: frozenset[str] = frozenset()
    _begun: deque[tuple[float, str]] = field(default_factory=lambda: deque(maxlen=1000))
    _last: dict[str, float] = field(default_factory=dict)

    def begun(self, service: str, now: float) -> None:
        """An action, or its undoing, has begun."""
        self._begun.append((now, service))
        self._last[service] = max(now, self._last.get(service, now))

    def refusal(self, action: Action, fleet: Fleet, policy: Policy, now: float, *, next_rung: bool = False) -> str:
        """Why not now; empty when nothing speaks against it.

        next_rung: it follows on its ladder on one that did not help, which has been waited for already
        """
        wait = policy.rung_minutes if next_rung else policy.cooldown_minutes
        return self._too_much(action, policy, now, wait) or _too_risky(action, fleet, policy)

    def _too_much(self, action: Action, policy: Policy, now: float, wait: float) -> str:
        if action.service in self.open:
            return "the last action on it is not verified yet"
        last = self._last.get(action.service)
        if last is not None and now - last < wait:
            return f"cooldown of {wait:g} minutes"
        radius = policy.blast_radius
        if len(self.open) >= radius.services_at_once:
            return f"blast radius: {', '.join(sorted(self.open))} first"
        if sum(at > now - HOUR for at, _ in self._begun) >= radius.actions_per_hour:
            return f"blast radius: {radius.actions_per_hour} actions in an hour"
        return ""


def _too_risky(action: Action, fleet: Fleet, policy: Policy) -> str:
    most = policy.blast_radius.most_replicas.get(action.service)
    if most is None:
        return "blast radius: the policy does not name the service"
    if action.kind is Kind.SCALE:
        return f"blast radius: {most} replicas are the most" if action.to > most else ""
    if action.kind is Kind.RESTART:
        # those that are not ready come first, so one that serves is enough where there are two
        alone = fleet.ready > 0 and fleet.wanted < 2
        return "it has one replica: nobody would serve meanwhile" if alone else ""
    if fleet.ready < 2:
        return "only one replica is ready: nobody would serve meanwhile"
    if fleet.ready < fleet.wanted:
        return f"{fleet.ready} of {fleet.wanted} replicas are ready: it would take one more away"
    return ""
