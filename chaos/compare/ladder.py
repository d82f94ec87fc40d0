"""The ladder: which patterns there are, which rung has which of them on, and what a rung has to show."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from chaos.definition import BadExperiment, Bounds, Part

LADDER = Path(__file__).with_name("ladder.yaml")
_ROUNDING = 1e-9

Number = Literal["success", "goodput", "p50", "p99", "sent", "reached", "in_flight", "recovered"]
"""What is measured of a rung and can be asked to move; `chaos.compare.measured` says what each is."""


class Pattern(Part):
    """The switches of one pattern: layers by pipeline, retry budgets by name, or retries in the mesh."""

    layers: Mapping[str, tuple[str, ...]] = {}
    budgets: tuple[str, ...] = ()
    mesh: bool = False


class Move(Part):
    """How far a number has to move: `falls` by a share of it, `rises` to a multiple of it, `gains` an amount."""

    number: Number
    falls: Annotated[float, Field(gt=0, lt=1)] | None = None
    rises: Annotated[float, Field(gt=1)] | None = None
    gains: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(each is not None for each in (self.falls, self.rises, self.gains)) != 1:
            raise ValueError("give one of falls, rises, gains")
        return self

    def made(self, before: float, after: float) -> bool:
        """The number moved so far."""
        if self.falls is not None:
            return after <= before * (1 - self.falls) + _ROUNDING and after < before
        if self.rises is not None:
            return after >= before * self.rises - _ROUNDING and after > before
        return after >= before + (self.gains or 0.0) - _ROUNDING


class Rung(Part):
    """One variant of the platform. `shows` and `keeps` are by scenario; `default` is for those that are not named."""

    name: str
    active: tuple[str, ...]
    about: str
    against: str | None = None
    shows: Mapping[str, Move | str]
    keeps: Mapping[str, Mapping[Number, Bounds]] = {}

    def move(self, scenario: str) -> Move | str:
        """What it has to show under that fault, or why it cannot show anything."""
        return self.shows.get(scenario, self.shows["default"])

    def bounds(self, scenario: str) -> Mapping[Number, Bounds]:
        """What it has to keep under that fault."""
        return self.keeps.get(scenario, self.keeps.get("default", {}))


class Ladder(Part):
    """All rungs, from the ground up. `breakers` are closed before each of them."""

    patterns: Mapping[str, Pattern]
    breakers: tuple[str, ...]
    rungs: tuple[Rung, ...]

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        names: list[str] = []
        for rung in self.rungs:
            if unknown := set(rung.active) - set(self.patterns):
                raise ValueError(f"{rung.name}: no pattern is called {', '.join(sorted(unknown))}")
            if rung.against is not None and rung.against not in names:
                raise ValueError(f"{rung.name}: no rung before it is called {rung.against!r}")
            if "default" not in rung.shows:
                raise ValueError(f"{rung.name}: shows: default is missing")
            names.append(rung.name)
        if len(set(names)) != len(names):
            raise ValueError("two rungs have the same name")
        return self

    def chosen(self, names: list[str]) -> "Ladder":
        """Only these rungs, in the ladder's order; all when none is named.

        Raises:
            BadExperiment: no rung has that name, or the one that a chosen one is held against is missing.
        """
        if not names:
            return self
        if unknown := set(names) - {rung.name for rung in self.rungs}:
            known = ", ".join(rung.name for rung in self.rungs)
            raise BadExperiment(f"No rung is called {', '.join(sorted(unknown))}. There are: {known}.")
        rungs = tuple(rung for rung in self.rungs if rung.name in names)
        try:
            return Ladder(patterns=self.patterns, breakers=self.breakers, rungs=rungs)
        except ValidationError as error:
            raise BadExperiment(f"Not without the rung that it is held against: {error.errors()[0]['msg']}") from None


def load(path: Path = LADDER) -> Ladder:
    """The ladder of a file.

    Raises:
        BadExperiment: it makes no sense.
    """
    try:
        return Ladder.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise BadExperiment(f"{path.name}: {error}") from None
