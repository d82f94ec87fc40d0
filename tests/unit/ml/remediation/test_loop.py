"""The loop from the predictor's answer to what is done, recorded, verified and undone."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ml.remediation.actuators.protocol import ActuatorError, Failure
from ml.remediation.audit import AuditUnavailable
from ml.remediation.limits import Fleet
from tests.unit.ml.remediation.platform import SERVICES, Platform


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    made: list[Platform] = []

    def platform(**more: Any) -> Platform:
        made.append(Platform(tmp_path, **more))
        return made[-1]

    yield platform
    for each in made:
        each.end()


async def test_a_run_without_a_fault_takes_no_action(make: Callable[..., Platform]) -> None:
    platform = make()
    await platform.minutes(300)
    assert platform.replicas.calls == []
    assert platform.records() == []


async def test_a_lasting_warning_scales_out_once_and_is_verified(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.8
    await platform.minutes(1)
    assert platform.replicas.calls == []  # one minute is no alarm
    await platform.minutes(1)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    platform.probabilities["payment"] = 0.1
    await platform.minutes(12)
    (record,) = platform.actions()
    assert (record.outcome, record.verification, record.rollback) == ("done", "helped", "not needed")
    assert record.cause.startswith("payment is 80% likely to fail")
    assert record.prediction is not None
    assert record.prediction["probability"] == 0.8
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    assert platform.counted(service="payment", action="scale", mode="auto", outcome="done") == 1


async def test_added_replicas_are_given_back_after_a_quiet_time(make: Callable[..., Platform]) -> None:
    platform = make(give_back_minutes=30)
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.probabilities["payment"] = 0.1
    await platform.minutes(29)
    assert len(platform.replicas.calls) == 1
    await platform.minutes(5)
    assert platform.replicas.calls[1:] == [("scale", "payment", 3, 2)]
    assert platform.actions()[0].rollback == "given back"
    await platform.minutes(60)
    assert len(platform.replicas.calls) == 2


async def test_a_scale_out_that_did_not_help_is_rolled_back_where_nothing_else_may_be_tried(
    make: Callable[..., Platform],
) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(12)
    assert platform.replicas.calls == [("scale", "payment", 2, 3), ("scale", "payment", 3, 2)]
    (record,) = platform.actions()
    assert (record.verification, record.rollback) == ("not helped", "done")
    await platform.minutes(60)
    assert len(platform.replicas.calls) == 2


async def test_the_next_remedy_needs_a_person_and_a_drain_that_did_not_help_ends(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.8
    await platform.minutes(13)
    (question,) = platform.approvals.all()
    assert question.action.kind == "drain"
    platform.approvals.answer(question.id, yes=True, by="ada")
    await platform.minutes(1)
    assert platform.replicas.calls[1:] == [("drain", "payment", 300.0)]
    assert platform.actions()[-1].approved_by == "ada"
    await platform.minutes(10)
    assert platform.replicas.calls[2:] == [("undrain", "payment", "payment-2"), ("scale", "payment", 3, 2)]


async def test_a_rollback_leaves_a_number_that_somebody_else_has_set(make: Callable[..., Platform]) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.replicas.fleets["payment"] = Fleet(6, 6)
    await platform.minutes(10)
    assert platform.replicas.fleets["payment"] == Fleet(6, 6)
    assert platform.actions()[0].rollback == "conflict"


async def test_while_nobody_can_tell_nothing_is_undone(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.probabilities["payment"] = None
    await platform.minutes(15)
    assert len(platform.replicas.calls) == 1
    (record,) = platform.actions()
    assert (record.verification, record.rollback) == ("unknown", "not tried")


async def test_shadow_says_once_what_it_would_do_and_does_nothing(make: Callable[..., Platform]) -> None:
    platform = make(mode="shadow")
    platform.probabilities["payment"] = 0.9
    await platform.minutes(60)
    assert platform.replicas.calls == []
    (record,) = platform.records()
    assert (record.outcome, record.reason) == ("shadow", "shadow: would scale payment from 2 to 3 replicas")
    assert platform.counted(mode="shadow", action="scale", outcome="shadow") == 1


async def test_a_held_out_alarm_is_recorded_and_left_alone(make: Callable[..., Platform]) -> None:
    platform = make(dice=0.1)
    platform.probabilities["payment"] = 0.9
    await platform.minutes(60)
    assert platform.replicas.calls == []
    (record,) = platform.records()
    assert record.control
    assert platform.counted(outcome="control") == 1


@pytest.mark.parametrize("how", ["file", "policy", "broken policy"])
async def test_the_kill_switch_stops_actions_rollbacks_and_approved_questions(
    make: Callable[..., Platform], how: str
) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.signals, platform.probabilities["order"] = ("memory",), 0.9
    if how == "file":
        (platform.directory / "stop").touch()
    elif how == "policy":
        platform.policy(kill_switch=True)
    else:
        platform.policy_file.write_text("mode: [")
    await platform.minutes(30)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    assert platform.approvals.all() == []
    assert platform.reasons()["order"] == "the kill switch is thrown"
    assert platform.actions()[0].rolled_back == "the kill switch is thrown"


async def test_in_approve_mode_a_scale_waits_for_a_person(make: Callable[..., Platform]) -> None:
    platform = make(mode="approve")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(5)
    (question,) = platform.approvals.all()
    assert platform.replicas.calls == []
    platform.approvals.answer(question.id, yes=True, by="ada")
    await platform.minutes(1)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]


@pytest.mark.parametrize("answer", ["denied", "expired"])
async def test_a_question_that_is_denied_or_left_is_not_put_again_in_that_alarm(
    make: Callable[..., Platform], answer: str
) -> None:
    platform = make(mode="approve")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    if answer == "denied":
        platform.approvals.answer(platform.approvals.all()[0].id, yes=False, by="ada")
    await platform.minutes(40)
    assert platform.replicas.calls == []
    assert [each.answer for each in platform.approvals.all()] == [answer]
    assert platform.actions()[0].outcome == answer


async def test_an_approval_that_comes_after_the_alarm_changes_nothing(make: Callable[..., Platform]) -> None:
    platform = make(mode="approve")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.probabilities["payment"] = 0.05
    await platform.minutes(4)
    platform.approvals.answer(platform.approvals.all()[0].id, yes=True, by="ada")
    await platform.minutes(2)
    assert platform.replicas.calls == []
    assert (platform.actions()[0].outcome, platform.actions()[0].reason) == ("refused by now", "the alarm is over")


@pytest.mark.parametrize("failure", [each for each in Failure if each is not Failure.TIMEOUT])
async def test_each_failure_of_the_actuator_ends_in_a_clear_record_and_no_second_try_in_the_cooldown(
    make: Callable[..., Platform], failure: Failure
) -> None:
    platform = make()
    platform.replicas.failing = ActuatorError(failure, "the reason")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(14)
    assert len(platform.replicas.calls) == 1
    (record,) = platform.actions()
    assert (record.stage, record.outcome, record.detail) == ("closed", failure.value, "the reason")


async def test_after_a_timeout_the_action_is_verified_as_if_it_had_been_done(make: Callable[..., Platform]) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.replicas.failing = ActuatorError(Failure.TIMEOUT, "no answer")
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.replicas.failing, platform.replicas.fleets["payment"] = None, Fleet(3, 3)  # it was done all the same
    await platform.minutes(10)
    assert platform.replicas.calls[1:] == [("scale", "payment", 3, 2)]
    assert platform.actions()[0].rollback == "done"


async def test_the_record_is_on_disk_before_anything_is_done(make: Callable[..., Platform]) -> None:
    platform = make()
    seen: list[str] = []
    platform.replicas.before = lambda: seen.extend(each.stage for each in platform.records())
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    assert seen == ["begun"]


async def test_without_a_record_nothing_is_done(make: Callable[..., Platform], monkeypatch: pytest.MonkeyPatch) -> None:
    platform = make()

    def full(_record: object) -> None:
        raise AuditUnavailable("no space left")

    monkeypatch.setattr(platform.audit, "write", full)
    platform.probabilities["payment"] = 0.8
    await platform.minutes(10)
    assert platform.replicas.calls == []


async def test_a_new_process_keeps_the_cooldown_and_verifies_what_the_old_one_began(
    make: Callable[..., Platform],
) -> None:
    platform = make(remedies=[{"actions": ["scale"]}])
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.end()
    platform.start()
    await platform.remediator.begin()
    await platform.minutes(9)
    assert platform.replicas.calls == [("scale", "payment", 2, 3)]
    await platform.minutes(1)
    assert platform.replicas.calls[1:] == [("scale", "payment", 3, 2)]
    assert platform.actions()[0].verification == "not helped"


async def test_an_action_that_was_cut_short_by_the_end_of_the_process_says_so(make: Callable[..., Platform]) -> None:
    platform = make()
    arrived = asyncio.Event()

    async def hangs(service: str, *, before: int, to: int) -> str:
        arrived.set()
        await asyncio.Event().wait()
        return f"{service} {before} {to}"

    platform.replicas.scale = hangs  # type: ignore[method-assign]
    platform.probabilities["payment"] = 0.8
    for _ in range(2):
        platform.now += 60
        await platform.remediator.minute()
    await arrived.wait()
    await platform.acting.stop()
    platform.end()
    platform.start()
    await platform.remediator.begin()
    (record,) = platform.actions()
    assert record.outcome == "interrupted"
    await platform.minutes(1)
    assert platform.reasons()["payment"] != "quiet"


LIES: dict[str, Callable[[Platform], httpx.Response]] = {
    "not a number": lambda p: httpx.Response(
        200, content=str([p.prediction("payment")]).replace("'", '"').replace("0.9", "NaN")
    ),
    "status 500": lambda p: httpx.Response(500),
    "not JSON": lambda p: httpx.Response(200, text="<html>"),
    "a number": lambda p: httpx.Response(200, json=7),
    "nothing": lambda p: httpx.Response(200, json=[]),
    "over one": lambda p: httpx.Response(200, json=[p.prediction("payment", probability=7)]),
    "no probability": lambda p: httpx.Response(200, json=[p.prediction("payment", probability=None)]),
    "stale": lambda p: httpx.Response(200, json=[p.prediction("payment", at="2001-01-01T00:00:00Z")]),
    "ahead": lambda p: httpx.Response(200, json=[p.prediction("payment", at="2101-01-01T00:00:00Z")]),
    "no moment": lambda p: httpx.Response(200, json=[p.prediction("payment", at=None)]),
    "twice": lambda p: httpx.Response(200, json=[p.prediction("payment")] * 2),
    "endless": lambda p: httpx.Response(200, content=b"[" * (2**20 + 1)),
    "deep": lambda p: httpx.Response(200, content=b"[" * 100_000),
}


@pytest.mark.parametrize("lie", LIES)
async def test_a_predictor_that_is_away_or_lies_means_unknown_and_no_action(
    make: Callable[..., Platform], lie: str
) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.9
    platform.answer = lambda request: LIES[lie](platform) if request.url.host == "predictor" else httpx.Response(500)
    await platform.minutes(10)
    assert platform.replicas.calls == []
    assert platform.reasons()["payment"].startswith("unknown: ")
    assert platform.metrics.registry.get_sample_value("remediation_unknown", {"service": "payment"}) == 1


async def test_a_predictor_that_never_answers_holds_up_no_turn(make: Callable[..., Platform]) -> None:
    platform = make()

    class Silent(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            await asyncio.Event().wait()
            raise AssertionError

    platform.client._transport = Silent()
    await platform.minutes(1)
    assert set(platform.reasons().values()) == {"unknown: the predictor: no answer in 0.2 s"}


@pytest.mark.parametrize("body", ['{"status": "error"}', '{"data": {"result": [7]}}', "x", '{"data": {"result": []}}'])
async def test_a_prometheus_that_lies_leaves_it_open_what_users_see(make: Callable[..., Platform], body: str) -> None:
    platform = make()
    platform.answer = lambda request: (
        platform.honest(request) if request.url.host == "predictor" else httpx.Response(200, text=body)
    )
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.probabilities["payment"] = 0.1
    await platform.minutes(11)
    assert platform.actions()[0].verification == "helped"


async def test_an_action_that_users_still_suffer_under_did_not_help(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities["payment"] = 0.8
    await platform.minutes(2)
    platform.probabilities["payment"] = 0.1
    platform.breached = {"payment"}
    await platform.minutes(11)
    assert platform.actions()[0].verification == "not helped"


async def test_only_one_service_at_a_time_is_acted_on(make: Callable[..., Platform]) -> None:
    platform = make()
    platform.probabilities = dict.fromkeys(SERVICES, 0.9)
    await platform.minutes(8)
    assert len(platform.replicas.calls) == 1


async def test_alarms_in_vain_beyond_the_budget_raise_the_threshold(make: Callable[..., Platform]) -> None:
    platform = make(mode="shadow", false_alarms_per_day=1)
    for _ in range(3):
        platform.probabilities["payment"] = 0.6
        await platform.minutes(3)
        platform.probabilities["payment"] = 0.05
        await platform.minutes(40)
    # the third was over the budget: it takes more to be an alarm by then
    assert platform.counted(outcome="shadow") == 2
    platform.probabilities["payment"] = 0.9
    await platform.minutes(3)
    assert platform.counted(outcome="shadow") == 3
