"""Which experiments run when: the set of a game day, and the plan of a week."""

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from pathlib import Path

import yaml

from chaos import definition
from chaos.definition import BadExperiment

PLAN = definition.EXPERIMENTS.parent / "weekly.yaml"
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

GAMEDAY = (
    "control",
    "payment-latency",
    "payment-errors",
    "payment-down",
    "replica-killed",
    "replica-paused",
    "broker-down",
)
"""What `make gameday` runs when no scenarios are named."""


def load(path: Path = PLAN) -> dict[str, list[str]]:
    """The scenarios of each weekday; a day that is not planned has none.

    Raises:
        BadExperiment: a day or a scenario that there is not.
    """
    try:
        written = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise BadExperiment(f"{path}: {error}") from None
    if not isinstance(written, dict):
        raise BadExperiment(f"{path}: a mapping of weekdays is needed")
    known = set(definition.names())
    for day, scenarios in written.items():
        if day not in WEEKDAYS:
            raise BadExperiment(f"{path}: {day!r} is no weekday")
        for scenario in scenarios:
            if scenario not in known:
                raise BadExperiment(f"{path}: {day}: no scenario is called {scenario!r}")
    return {day: list(written.get(day, [])) for day in WEEKDAYS}


def upcoming(now: datetime, at: time, planned: Mapping[str, list[str]]) -> tuple[datetime, str]:
    """When the next planned experiments begin, and on which weekday.

    Raises:
        BadExperiment: nothing is planned at all.
    """
    for days in range(8):
        moment = datetime.combine((now + timedelta(days=days)).date(), at, tzinfo=now.tzinfo)
        day = WEEKDAYS[moment.weekday()]
        if moment > now and planned[day]:
            return moment, day
    raise BadExperiment("The plan has no scenarios on any day.")


def time_of_day(text: str) -> time:
    """`10:00`. Raises `ValueError`."""
    return datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 - a time of day has no zone
