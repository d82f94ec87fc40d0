"""Replicas that were added: they serve while a ladder is gone through, and each is given back once."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from ml.remediation.actuators.protocol import Actuator, ActuatorError, Failure
from ml.remediation.audit import AuditUnavailable, Record
from ml.remediation.decide import Decider
from ml.remediation.limits import Action
from ml.remediation.metrics import Metrics
from ml.remediation.policy import Mode, Policy
from ml.remediation.verify import Verified

log = structlog.get_logger()

Write = Callable[..., Awaitable[Record]]
"""Puts a record, changed as told, on disk. Raises AuditUnavailable."""

_THERE, _BEGUN = ("not needed", "not tried", "kept"), "begun"
"""What a record says of the undoing of a scale-out: the replica serves still, or it is being given back."""


@dataclass(slots=True)
class Given:
    """One scale-out, verified.

    helped: or nobody can tell; what did not help goes when its ladder has ended in vain
    due:    not before this minute, after nobody was there to take it back
    """

    record: Record
    action: Action
    helped: bool
    due: float = 0.0


class Added:
    """All of them.

    now: minutes
    """

    def __init__(
        self, actuator: Actuator, decider: Decider, metrics: Metrics, now: Callable[[], float], write: Write
    ) -> None:
        self._actuator, self._decider, self._metrics = actuator, decider, metrics
        self._now, self._write = now, write
        self._given: list[Given] = []

    def keep(self, record: Record, action: Action, *, helped: bool) -> None:
        """Have a verified scale-out given back one day."""
        self._given.append(Given(record, action, helped))
        self._tell()

    async def remember(self, record: Record, action: Action) -> None:
        """Take up what an earlier process had added. Raises AuditUnavailable."""
        if record.rollback in _THERE:
            self.keep(record, action, helped=record.verification != Verified.NOT_HELPED)
        elif record.rollback == _BEGUN:  # nobody knows whether it was: a second time might take somebody else's
            await self._write(record, stage="closed", rollback="interrupted")

    async def give_back(self, policy: Policy, *, stopped: bool) -> None:
        """Give back what was added, one step a minute, the last of a service first.

        It is time when the service, and the one that was warned of, have been quiet for long enough; for what did not
        help also when its ladder has ended in vain. Whoever serves alone is left to serve.
        """
        if stopped or policy.kill_switch or policy.mode is Mode.SHADOW:
            return
        last = {given.action.service: given for given in self._given}
        for given in last.values():
            if self._is_time(given, policy) and await self._others_serve(given.action):
                await self._give_back(given, policy)
                return

    def _is_time(self, given: Given, policy: Policy) -> bool:
        service, decider = given.action.service, self._decider
        if service in decider.history.open or self._now() < given.due:
            return False
        if decider.concerned(service):
            return not given.helped and not decider.goes_on(service)
        quiet = decider.quiet_since(service, given.record.service)
        return bool(policy.give_back_minutes) and quiet is not None and self._now() - quiet >= policy.give_back_minutes

    async def _others_serve(self, action: Action) -> bool:
        try:
            fleet = await self._actuator.fleet(action.service)
        except ActuatorError as error:
            log.warning("replicas unknown", service=action.service, failure=error.failure, why=str(error))
            return False
        # another number than ours is the actuator's to refuse
        return fleet.wanted != action.to or fleet.ready - (action.to - action.before) >= 1

    async def _give_back(self, given: Given, policy: Policy) -> None:
        action, in_vain = given.action, self._decider.concerned(given.action.service)
        try:
            given.record = await self._write(given.record, rollback=_BEGUN)
        except AuditUnavailable as error:
            log.critical("no record, no action", action=str(action), error=str(error))
            return
        self._decider.history.begun(action.service, self._now())
        try:
            how = await self._actuator.scale(action.service, before=action.to, to=action.before)
            rollback = "done" if in_vain else "given back"
            self._metrics.count(action.service, action.kind, policy.mode, "rolled-back" if in_vain else "given-back")
        except ActuatorError as error:
            how, rollback = str(error), error.failure.value
            if error.failure is Failure.UNAVAILABLE:  # surely not done, and it may be later
                given.due = self._now() + policy.cooldown_minutes
                given.record = await or_log(self._write, given.record, rollback="not tried", rolled_back=how)
                return
        self._given.remove(given)
        self._tell()
        await or_log(self._write, given.record, stage="closed", rollback=rollback, rolled_back=how)

    def _tell(self) -> None:
        self._decider.history.kept = frozenset(each.action.service for each in self._given if not each.helped)


async def or_log(write: Write, record: Record, **changed: object) -> Record:
    """What has happened has happened: a record that cannot be written any more is at least in the log."""
    try:
        return await write(record, **changed)
    except AuditUnavailable as error:
        log.critical("an action without its record", record=record.id, error=str(error), **changed)
        return record.model_copy(update=changed)
