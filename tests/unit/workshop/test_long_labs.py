"""The checks of the labs that take minutes, on what such days record."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaos import definition
from chaos.report import summary
from chaos.report.run import Run
from chaos.runner.verdict import Label, Verdict
from tests.unit.chaos.runs import CLEAN, recording
from tests.unit.ml.remediation.platform import Platform as RemediatedPlatform
from workshop.lab import NotYet
from workshop.labs import game_day, prediction

BEGAN = 1_000.0


def run(directory: Path, number: int, scenario: str, label: str, began: float) -> None:
    """A verdict with that label, by the writer of `python -m chaos run`."""
    folder = directory / f"{scenario}-{number}"
    folder.mkdir(parents=True)
    experiment = definition.load(scenario)
    verdict = Verdict(Label[label], "as this test says")
    made = Run(experiment, definition.of(experiment), recording(), CLEAN, verdict, folder.name, 1, began, began + 50)
    (folder / "verdict.json").write_text(json.dumps(summary(made)))


def day(directory: Path, *runs: tuple[str, str]) -> list[Any]:
    for number, (scenario, verdict) in enumerate(runs):
        run(directory, number, scenario, verdict, BEGAN + 60 * number)
    return list(game_day.verdicts(directory, BEGAN))


@pytest.mark.parametrize(
    ("runs", "missing"),
    [
        ([], "control experiment has not passed"),
        ([("control", "FAIL")], "control experiment has not passed"),
        ([("control", "PASS"), ("payment-down", "INCONCLUSIVE")], "none has failed"),
        ([("control", "PASS"), ("payment-down", "PASS"), ("payment-errors", "PASS")], "none has failed"),
        ([("control", "PASS"), ("payment-down", "FAIL")], "has not passed since"),
        ([("control", "PASS"), ("payment-down", "PASS"), ("payment-down", "FAIL")], "has not passed since"),
        ([("control", "PASS"), ("payment-down", "FAIL"), ("payment-down", "PASS")], "2 scenarios have passed"),
        (
            [("control", "PASS"), ("payment-down", "FAIL"), ("payment-down", "PASS"), ("payment-errors", "ABORTED")],
            "2 scenarios have passed",
        ),
    ],
)
def test_a_game_day_that_is_not_over_is_told_what_it_lacks(
    tmp_path: Path, runs: list[tuple[str, str]], missing: str
) -> None:
    with pytest.raises(NotYet, match=missing):
        game_day.judged(day(tmp_path, *runs))


def test_a_game_day_finds_a_weakness_mends_it_and_proves_it(tmp_path: Path) -> None:
    found = day(
        tmp_path, ("control", "PASS"), ("payment-down", "FAIL"), ("payment-down", "PASS"), ("payment-errors", "PASS")
    )
    assert game_day.judged(found).startswith("payment-down failed, was mended and passed; 3 scenarios pass")


def test_experiments_from_before_the_lab_do_not_count(tmp_path: Path) -> None:
    run(tmp_path, 1, "control", "PASS", BEGAN - 1)
    run(tmp_path, 2, "payment-down", "FAIL", BEGAN - 60)
    assert game_day.verdicts(tmp_path, BEGAN) == []


@pytest.fixture
async def remediated(tmp_path: Path) -> Any:
    """The real remediator, a minute at a time, on a platform that never was; what it writes is what it writes."""
    made: list[RemediatedPlatform] = []

    def make(**policy: Any) -> RemediatedPlatform:
        if made:
            made[-1].end()
        made.append(RemediatedPlatform(tmp_path, control_share=0, **policy))
        return made[-1]

    yield make
    for each in made:
        await each.client.aclose()


def recorded(directory: Path) -> list[Any]:
    return [json.loads(line) for line in (directory / "audit.jsonl").read_text().splitlines()]


async def test_the_record_of_a_warning_seen_in_shadow_and_then_approved_passes(
    tmp_path: Path, remediated: Callable[..., RemediatedPlatform]
) -> None:
    platform = remediated(mode="shadow")
    began = platform.now
    platform.probabilities["payment"], platform.signals = 0.9, ("pool",)

    def predictions() -> list[dict[str, Any]]:
        return [platform.prediction(each) for each in platform.probabilities]

    with pytest.raises(NotYet, match="No alarm was recorded"):
        prediction.judged(predictions(), [], began)
    await platform.minutes(3)
    with pytest.raises(NotYet, match="no action that a person approved"):
        prediction.judged(predictions(), recorded(tmp_path), began)

    now = platform.now
    platform = remediated(mode="approve")
    platform.now, platform.probabilities["payment"], platform.signals = now, 0.9, ("pool",)
    await platform.minutes(3)
    (question,) = platform.approvals.all()
    with pytest.raises(NotYet, match="1 of them a question"):
        prediction.judged(predictions(), recorded(tmp_path), began)
    platform.approvals.answer(question.id, yes=True, by="ada")
    await platform.minutes(1)
    assert prediction.judged(predictions(), recorded(tmp_path), began).startswith("ada approved: scale of payment")
    platform.now += 60
    with pytest.raises(NotYet, match="No alarm was recorded"):
        prediction.judged(predictions(), recorded(tmp_path), platform.now - 1)


def test_a_predictor_that_knows_nothing_passes_nobody_and_its_reason_is_told() -> None:
    unknown = {"state": "unknown", "at": None, "why": "cpu: fewer than eight minutes of fifteen"}
    old = {"state": "quiet", "at": "1970-01-01T00:00:00Z", "why": ""}
    with pytest.raises(NotYet, match="fewer than eight minutes"):
        prediction.judged([unknown, old], [], BEGAN)
