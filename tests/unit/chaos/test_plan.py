"""The week's plan."""

from datetime import datetime, time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from chaos.definition import BadExperiment
from chaos.runner import plan

ZONE = ZoneInfo("Europe/Berlin")
NOTHING: dict[str, list[str]] = {day: [] for day in plan.WEEKDAYS}
PLANNED = NOTHING | {"monday": ["control"], "thursday": ["control"]}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE)


@pytest.mark.parametrize(
    ("now", "then", "day"),
    [
        ("2026-11-23T09:59:00", "2026-11-23T10:00:00", "monday"),
        ("2026-11-23T10:00:00", "2026-11-26T10:00:00", "thursday"),
        ("2026-11-27T08:00:00", "2026-11-30T10:00:00", "monday"),
    ],
)
def test_the_next_experiments_are_the_next_planned_weekday(now: str, then: str, day: str) -> None:
    assert plan.upcoming(at(now), time(10), PLANNED) == (at(then), day)


def test_a_plan_with_only_today_comes_again_next_week() -> None:
    only = NOTHING | {"monday": ["control"]}
    assert plan.upcoming(at("2026-11-23T10:00:00"), time(10), only)[0] == at("2026-11-30T10:00:00")


def test_a_plan_without_experiments_is_refused() -> None:
    with pytest.raises(BadExperiment):
        plan.upcoming(at("2026-11-23T10:00:00"), time(10), NOTHING)


@pytest.mark.parametrize("text", ["someday: [control]", "monday: [no-such-thing]", "- control", "monday: ["])
def test_a_plan_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(BadExperiment):
        plan.load(tmp_path / "plan.yaml")


def test_each_working_day_of_the_plan_begins_with_the_control() -> None:
    assert all(plan.load()[day][0] == "control" for day in plan.WEEKDAYS[:5])
