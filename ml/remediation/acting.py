"""One action from its record to its verification: written down, done, looked at, undone if it did not help."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass

import structlog

from ml.remediation.actuators.protocol import Actuator, ActuatorError, Failure
from ml.remediation.added import Added, or_log
from ml.remediation.audit import Audit, AuditUnavailable, Planned, Record, moment
from ml.remediation.decide import Decider, Decision
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Action
from ml.remediation.metrics import Metrics
from ml.remediation.policy import Kind, Policy
from ml.remediation.verify import Verified, judge

log = structlog.get_logger()

UNCERTAIN = frozenset({Failure.TIMEOUT.value, "interrupted"})
"""Outcomes after which nobody knows whether it was done."""

_NOTHING_DONE, _NOT_TRIED = ("decided", "asked"), ("denied", "expired", "refused by now")


@dataclass(slots=True)
class Open:
    """An action that is not verified yet: its record, and when to look (minutes)."""

    record: Record
    action: Action
    due: float


class Acting:
    """Carries actions out. Only this and `added` ask an actuator to change anything.

    clock:  seconds since 1970
    minute: seconds that count as one
    """

    def __init__(
        self,
        actuator: Actuator,
        audit: Audit,
        decider: Decider,
        metrics: Metrics,
        clock: Callable[[], float],
        minute: float,
    ) -> None:
        self._actuator, self._audit, self._decider, self._metrics = actuator, audit, decider, metrics
        self._clock, self._minute = clock, minute
        self.open: dict[str, Open] = {}
        self.added = Added(actuator, decider, metrics, self.now, self.write)
        self._running: set[asyncio.Task[None]] = set()

    def now(self) -> float:
        """Minutes."""
        return self._clock() / self._minute

    def record(self, decision: Decision, seen: Evidence, policy: Policy, record_id: str, **more: object) -> Record:
        """A record of a decision, not written yet."""
        at = moment(self._clock())
        action = Planned(**asdict(decision.action)) if decision.action else None
        fields: dict[str, object] = {
            "id": record_id, "at": at, "began": at, "stage": "decided", "service": decision.service,
            "alarm": decision.alarm, "mode": policy.mode, "control": decision.control, "actuator": self._actuator.name,
            "cause": cause(seen), "prediction": seen.prediction, "decision": str(decision.verdict),
            "reason": decision.reason, "action": action,
        }  # fmt: skip
        return Record.model_validate(fields | more)

    async def write(self, record: Record, **changed: object) -> Record:
        """Put a record, changed as told, on disk. Raises AuditUnavailable."""
        record = record.model_copy(update={"at": moment(self._clock()), **changed})
        await asyncio.to_thread(self._audit.write, record)
        return record

    def records(self) -> dict[str, Record]:
        """The audit, as `Audit.records`. Blocks."""
        return self._audit.records()

    async def remember(self, policy: Policy) -> None:
        """Take up what an earlier process left: cooldowns count on, and what was not verified is."""
        for record in (await asyncio.to_thread(self._audit.records)).values():
            if record.action is None or record.stage in _NOTHING_DONE or record.outcome in _NOT_TRIED:
                continue
            action = Action(**record.action.model_dump())
            self._decider.history.begun(action.service, record.began.timestamp() / self._minute)
            if record.stage == "begun":
                text = "the process ended meanwhile: nobody knows whether it was done"
                left = await self.write(record, stage="finished", outcome="interrupted", detail=text)
                self._await_verification(left, action, policy)
            elif record.stage == "finished":
                self._await_verification(record, action, policy)
            elif record.stage == "verified" and action.kind is Kind.SCALE:
                await self.added.remember(record, action)

    async def begin(self, record: Record, action: Action, policy: Policy) -> None:
        """Start an action, once its record is on disk. It goes on beside the caller: see `settled`."""
        history, alarm = self._decider.history, self._decider.alarm(record.alarm)
        if alarm is not None:
            alarm.begun = True
        history.begun(action.service, self.now())
        history.open.add(action.service)
        try:
            record = await self.write(record, stage="begun")
        except AuditUnavailable as error:
            history.open.discard(action.service)
            log.critical("no record, no action", action=str(action), error=str(error))
            return
        except BaseException:
            history.open.discard(action.service)
            raise
        task = asyncio.create_task(self._carry_out(record, action, policy))
        self._running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """An error that nobody foresaw leaves its service open: nothing more is done to it by this process."""
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.critical("an action ended in an unknown way", exc_info=task.exception())

    async def settled(self) -> None:
        """Return when no action is being carried out."""
        while self._running:
            await asyncio.wait(set(self._running))

    async def stop(self) -> None:
        """End what is being carried out; its record says that it was interrupted, at the next start."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _carry_out(self, record: Record, action: Action, policy: Policy) -> None:
        try:
            detail = await self._do(action)
            outcome = "done"
        except ActuatorError as error:
            detail, outcome = str(error), error.failure.value
        log.warning("remediation", action=str(action), outcome=outcome, detail=detail, record=record.id)
        self._metrics.count(action.service, action.kind, policy.mode, outcome)
        alarm = self._decider.alarm(record.alarm)
        uncertain = outcome in UNCERTAIN
        if alarm is not None:
            alarm.acted = alarm.acted or outcome == "done" or uncertain
            if outcome == Failure.UNSUPPORTED:
                alarm.tried.add((action.service, action.kind))
        if outcome != "done" and not uncertain:
            self._decider.history.open.discard(action.service)
            await or_log(self.write, record, stage="closed", outcome=outcome, detail=detail, rollback="not needed")
            return
        record = await or_log(self.write, record, stage="finished", outcome=outcome, detail=detail)
        self._await_verification(record, action, policy)

    async def _do(self, action: Action) -> str:
        if action.kind is Kind.SCALE:
            return await self._actuator.scale(action.service, before=action.before, to=action.to)
        if action.kind is Kind.RESTART:
            return await self._actuator.restart(action.service)
        return await self._actuator.drain(action.service, action.seconds)

    def _await_verification(self, record: Record, action: Action, policy: Policy) -> None:
        self._decider.history.open.add(action.service)
        self.open[record.id] = Open(record, action, self.now() + policy.verification.after_minutes)

    async def verify_due(self, evidence: Mapping[str, Evidence], policy: Policy, *, stopped: bool) -> None:
        """Look whether actions helped whose time has come: whether what they were for is better.

        A drained replica that did not help comes back now. An added one serves on, see `added`.
        """
        for each in [one for one in self.open.values() if one.due <= self.now()]:
            service = each.record.service
            seen = evidence.get(service, Evidence(service, None, unknown="not asked about"))
            await self._verify(each, seen, policy, stopped=stopped)

    async def _verify(self, each: Open, seen: Evidence, policy: Policy, *, stopped: bool) -> None:
        action = each.action
        over = self._decider.quiet_since(each.record.service) is not None
        before = float((each.record.prediction or {}).get("probability") or 1.0)
        verdict, text = judge(before, seen, policy, alarm_over=over)
        alarm = self._decider.alarm(each.record.alarm)
        if verdict is Verified.NOT_HELPED:
            if alarm is not None:
                alarm.tried.add((action.service, action.kind))
            rollback, how = await self._undo(each, policy, stopped=stopped)
        elif verdict is Verified.UNKNOWN:
            rollback, how = "not tried", "nobody can tell whether it helped"
        else:
            rollback, how = "not needed", ""
        del self.open[each.record.id]
        self._decider.history.open.discard(action.service)
        log.warning("verified", action=str(action), verdict=verdict, why=text, rollback=rollback, record=each.record.id)
        record = await or_log(
            self.write,
            each.record,
            stage="verified",
            verification=str(verdict),
            verified=text,
            rollback=rollback,
            rolled_back=how,
        )
        if action.kind is Kind.SCALE:
            self.added.keep(record, action, helped=verdict is not Verified.NOT_HELPED)

    async def _undo(self, each: Open, policy: Policy, *, stopped: bool) -> tuple[str, str]:
        action = each.action
        if stopped or policy.kill_switch:
            return "not tried", "the kill switch is thrown"
        if action.kind is Kind.RESTART:
            return "impossible", "a restart cannot be undone"
        if action.kind is Kind.SCALE:
            return "kept", "it serves until the ladder has ended"
        if each.record.outcome != "done":
            return "not tried", "nobody knows which replica; it comes back by itself"
        try:
            how = await self._actuator.undrain(action.service, each.record.detail)
        except ActuatorError as error:
            return error.failure.value, str(error)
        self._decider.history.begun(action.service, self.now())
        self._metrics.count(action.service, action.kind, policy.mode, "rolled-back")
        return "done", how


def cause(seen: Evidence) -> str:
    """The warning in one line."""
    if seen.probability is None:
        return f"unknown: {seen.unknown}"
    signals = f"; moved: {', '.join(seen.signals[:3])}" if seen.signals else ""
    return f"{seen.service} is {seen.probability:.0%} likely to fail in 10 to 30 minutes{signals}"
