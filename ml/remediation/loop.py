"""Predict, decide, act: every minute, for as long as the process lives."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import structlog

from ml.remediation.acting import Acting, cause
from ml.remediation.actuators.protocol import Actuator, ActuatorError
from ml.remediation.approvals import Answer, Approvals, Question
from ml.remediation.audit import AuditUnavailable, Record
from ml.remediation.decide import Decider, Decision, Verdict
from ml.remediation.evidence import Evidence
from ml.remediation.limits import Fleet
from ml.remediation.metrics import Metrics
from ml.remediation.policy import Mode, Policy, PolicyError, load
from ml.remediation.sources import Sources

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Files:
    """The policy, and the kill switch: nothing is done as long as that file exists."""

    policy: Path
    stop: Path


class Remediator:
    """All of it. `minute` never raises for what others do: whoever is away, slow or lying makes things unknown.

    mode:   instead of the policy's
    new_id: names for alarms and records
    """

    def __init__(
        self,
        files: Files,
        sources: Sources,
        actuator: Actuator,
        acting: Acting,
        decider: Decider,
        approvals: Approvals,
        metrics: Metrics,
        clock: Callable[[], float],
        new_id: Callable[[], str],
        minute: float = 60.0,
        mode: Mode | None = None,
    ) -> None:
        self._files, self._sources, self._actuator, self._acting = files, sources, actuator, acting
        self._decider, self._approvals, self._metrics = decider, approvals, metrics
        self._clock, self._new_id, self._minute, self._mode = clock, new_id, minute, mode
        self.policy = self._read_policy()
        self.policy_error = ""
        self.decisions: list[Decision] = []
        self._told: dict[str, tuple[str, str, str]] = {}

    @property
    def services(self) -> tuple[str, ...]:
        """Those that the policy names."""
        return tuple(self.policy.blast_radius.most_replicas)

    @property
    def stopped(self) -> bool:
        """The kill switch is thrown, by its file or in the policy, or the policy cannot be read."""
        return self.policy.kill_switch or bool(self.policy_error) or self._files.stop.exists()

    @property
    def switch_thrown(self) -> bool:
        """The kill switch's file is there: that one can be taken back here."""
        return self._files.stop.exists()

    def throw_switch(self, *, thrown: bool) -> None:
        """Throw the kill switch, or take it back. Blocks for a moment."""
        if thrown:
            self._files.stop.touch(mode=0o600)
        else:
            self._files.stop.unlink(missing_ok=True)
        log.warning("kill switch", thrown=thrown)

    def records(self) -> dict[str, Record]:
        """The audit, as `Audit.records`. Blocks."""
        return self._acting.records()

    async def begin(self) -> None:
        """Take up what an earlier process left. Raises AuditUnavailable."""
        self._metrics.expect(self.services, self.policy.mode)
        await self._acting.remember(self.policy)

    async def minute(self) -> list[Decision]:
        """One turn; returns the decision for each service."""
        self._reload()
        stopped = self.stopped
        evidence = await self._sources.evidence(self.services, self._clock(), self.policy.stale_minutes * self._minute)
        for service, seen in evidence.items():
            self._metrics.known(service, known=seen.probability is not None)
        treated = self._decider.observe(self._acting.now(), evidence, self.policy)
        fleets = await self._fleets(treated | self._approvals.waiting())
        await self._acting.verify_due(evidence, self.policy, stopped=stopped)
        self.decisions = self._decider.decide(
            self._acting.now(), evidence, fleets, self.policy, asked=self._approvals.waiting(), stopped=stopped
        )
        await self._settle(evidence, fleets, stopped=stopped)
        for decision in self.decisions:
            await self._follow(decision, evidence[decision.service], fleets)
        await self._acting.added.give_back(self.policy, stopped=stopped)
        return self.decisions

    async def _fleets(self, services: Collection[str]) -> dict[str, Fleet]:
        """The replicas of services to which something may be done; nobody else's are needed, and asking takes time."""
        found: dict[str, Fleet] = {}
        for service in services:
            try:
                found[service] = await self._actuator.fleet(service)
            except ActuatorError as error:
                log.warning("replicas unknown", service=service, failure=error.failure, why=str(error))
        return found

    async def _settle(self, evidence: dict[str, Evidence], fleets: dict[str, Fleet], *, stopped: bool) -> None:
        """Do what persons have approved, if it may be done still; write down what they denied or left."""
        for question in self._approvals.settled():
            action = question.action
            decision = self._decider.granted(
                self._acting.now(), action, question.alarm, evidence, fleets.get(action.service), self.policy,
                stopped=stopped,
            )  # fmt: skip
            service = decision.service
            seen = evidence.get(service, Evidence(service, None, unknown="not asked about"))
            if question.answer is not Answer.APPROVED:
                decision = Decision(Verdict.HOLD, service, question.answer, question.alarm, action)
                alarm = self._decider.alarm(question.alarm)
                if alarm is not None:
                    alarm.closed = f"a person was asked: {question.answer}"
                self._metrics.count(action.service, action.kind, self.policy.mode, question.answer)
            record = self._acting.record(decision, seen, self.policy, question.id, approved_by=question.by)
            if decision.verdict is Verdict.ACT:
                await self._acting.begin(record, question.action, self.policy)
            else:
                outcome = question.answer if question.answer is not Answer.APPROVED else "refused by now"
                await self._note(decision, seen, question.id, stage="closed", outcome=str(outcome), by=question.by)

    async def _follow(self, decision: Decision, seen: Evidence, fleets: dict[str, Fleet]) -> None:
        news = self._news(decision)
        if decision.verdict is Verdict.ACT and decision.action is not None:
            # what persons have approved has begun since: both together may be too much
            fleet, now = fleets[decision.action.service], self._acting.now()
            if self._decider.refusal(decision.action, decision.alarm, fleet, self.policy, now):
                return
            record = self._acting.record(decision, seen, self.policy, self._new_id())
            await self._acting.begin(record, decision.action, self.policy)
        elif decision.verdict is Verdict.PROPOSE:
            await self._ask(decision, seen)
        elif news and decision.alarm and decision.verdict is Verdict.HOLD:
            shadowed = decision.action is not None and self.policy.mode is Mode.SHADOW
            outcome = "control" if decision.control else "shadow" if shadowed else ""
            if outcome:
                kind = decision.action.kind.value if decision.action else "none"
                treated = decision.action.service if decision.action else decision.service
                self._metrics.count(treated, kind, self.policy.mode, outcome)
            await self._note(decision, seen, self._new_id(), stage="decided", outcome=outcome)

    def _news(self, decision: Decision) -> bool:
        """It is not what was decided the minute before. Said in the log, so that "unknown" is heard."""
        told = (decision.verdict.value, decision.reason, decision.alarm)
        if self._told.get(decision.service) == told:
            return False
        self._told[decision.service] = told
        log.info("decided", service=decision.service, verdict=decision.verdict, reason=decision.reason)
        return True

    async def _ask(self, decision: Decision, seen: Evidence) -> None:
        if decision.action is None:
            return
        now, record_id = self._clock(), self._new_id()
        if await self._note(decision, seen, record_id, stage="asked", outcome=""):
            expires = now + self.policy.approval_minutes * self._minute
            self._approvals.ask(
                Question(record_id, decision.action, decision.alarm, cause(seen), seen.prediction, now, expires)
            )
            alarm = self._decider.alarm(decision.alarm)
            if alarm is not None:
                alarm.begun = True
            self._metrics.count(decision.action.service, decision.action.kind, self.policy.mode, "asked")

    async def _note(
        self, decision: Decision, seen: Evidence, record_id: str, *, stage: str, outcome: str, by: str = ""
    ) -> bool:
        """Write a decision down that changes nothing; false when that cannot be."""
        record = self._acting.record(
            decision, seen, self.policy, record_id, stage=stage, outcome=outcome, approved_by=by
        )
        try:
            await self._acting.write(record)
        except AuditUnavailable as error:
            log.critical("no audit record", service=decision.service, error=str(error))
            return False
        return True

    def _read_policy(self) -> Policy:
        found = load(self._files.policy)
        return found.model_copy(update={"mode": self._mode}) if self._mode is not None else found

    def _reload(self) -> None:
        try:
            found = self._read_policy()
        except PolicyError as error:
            if not self.policy_error:
                log.error("the policy cannot be read: nothing is done until it can", why=str(error))  # noqa: TRY400
            self.policy_error = str(error)
            return
        self.policy_error = ""
        if found != self.policy:
            log.warning("the policy has changed", mode=found.mode, kill_switch=found.kill_switch)
            self.policy = found
            self._metrics.expect(self.services, found.mode)


async def every_minute(remediator: Remediator, seconds: float, monotonic: Callable[[], float]) -> None:
    """Turn after turn, from one beginning to the next; what a turn is late by is not made up for."""
    while True:
        began = monotonic()
        await remediator.minute()
        await asyncio.sleep(max(0.0, seconds - (monotonic() - began)))
