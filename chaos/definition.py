"""What Holdfast adds to an experiment of Chaos Toolkit: the extension `holdfast` of its file, typed and checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

EXPERIMENTS = Path(__file__).resolve().parent / "experiments"
NAME = "holdfast"

Place = Literal["local", "compose", "kubernetes"]
Share = Annotated[float, Field(ge=0, le=1)]
Seconds = Annotated[float, Field(gt=0, le=600)]


class BadExperiment(Exception):
    """A file that does not make sense; the message has its name and the field."""


class Part(BaseModel):
    """What all parts have in common: nothing unknown, nothing changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Load(Part):
    """Orders that the experiment sends by itself. `attempts` counts the first one: 1 shows each answer as it came."""

    orders_per_second: Annotated[float, Field(gt=0, le=200)] = 6.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 1
    warm_up_seconds: Seconds = 5.0
    declining: Share = 0.03


class Bounds(Part):
    """A reading is to be in these bounds, at its peak: the largest while the fault acts."""

    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        if self.at_least is None and self.at_most is None:
            raise ValueError("give at_least, at_most or both")
        return self

    def hold(self, value: float) -> bool:
        """The value is within them."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        words = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        words += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        return " and ".join(words)


class Answers(Bounds):
    """The share of orders that ended with one of these statuses; 0 is no answer at all."""

    answers: tuple[int, ...]
    after_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0


class Latency(Bounds):
    """A percentile, in seconds, of the orders that were sent while the fault acted; `of`: only of those answered so."""

    latency: Annotated[int, Field(ge=1, le=100)]
    of: tuple[int, ...] = ()
    after_seconds: Annotated[float, Field(ge=0, le=600)] = 0.0


class Increase(Bounds):
    """How much a counter grew, summed over the replicas of a service (all when left out)."""

    increase: str
    service: str | None = None
    instance: str | None = None
    labels: Mapping[str, str] = {}


class Gauge(Bounds):
    """The largest value that any replica showed."""

    gauge: str
    service: str | None = None
    instance: str | None = None
    labels: Mapping[str, str] = {}


class Query(Bounds):
    """The largest value that a PromQL query had; nothing at all counts as 0."""

    promql: str


class Process(Part):
    """A program of the stack was seen in that state; with several names, any of them."""

    process: str | tuple[str, ...]
    becomes: Literal["paused", "down", "restarted"]

    @property
    def names(self) -> tuple[str, ...]:
        """Names and patterns of names."""
        return (self.process,) if isinstance(self.process, str) else self.process


class Breaker(Part):
    """A breaker of the order service reached a state, in any replica, or never did."""

    breaker: str
    becomes: Literal["open", "half_open", "closed"] | None = None
    never: Literal["open"] | None = None

    @model_validator(mode="after")
    def _says_one_thing(self) -> Self:
        if (self.becomes is None) == (self.never is None):
            raise ValueError("give becomes or never")
        return self


class Amplification(Bounds):
    """Attempts for each call that the order service made through one of its pipelines (all of them when empty)."""

    amplification: str


class Alert(Part):
    """An alert of Prometheus fired, or was pending, while the fault acted."""

    alert: str


Check = Answers | Latency | Increase | Gauge | Query | Process | Breaker | Amplification | Alert
"""What can be asked of the recording of a run."""


class Abort(Part):
    """When to end an experiment early. What customers see in the last `window_seconds` is read each `probe_seconds`.

    An order that has waited longer than `p99_above_seconds` counts as late although it has not ended.
    """

    success_below: Share = 0.5
    p99_above_seconds: Seconds = 10.0
    window_seconds: Seconds = 5.0
    probe_seconds: Annotated[float, Field(ge=0.1, le=10)] = 1.0
    at_least_orders: Annotated[int, Field(ge=1, le=1000)] = 10


class Recovery(Part):
    """What counts as recovered, and how long it may take from the end of the fault.

    `breakers` are those that orders go through: one that nobody calls (`payment.status`) has no way to close.
    """

    within_seconds: Seconds = 30.0
    success_at_least: Share = 0.99
    p99_at_most_seconds: Seconds = 1.5
    breakers: tuple[str, ...] = ("payment", "inventory.*")
    settled: bool = True


class Definition(Part):
    """The extension of one experiment. `not_on` has the places where it cannot run, each with the reason."""

    name: Literal["holdfast"]
    scenario: str
    blast_radius: str
    expected: str
    fault_seconds: Seconds = 20.0
    not_on: Mapping[Place, str] = {}
    replicas: Mapping[str, Annotated[int, Field(ge=0, le=8)]] = {}
    load: Load = Load()
    bites: tuple[Check, ...] = ()
    expect: tuple[Check, ...] = ()
    alerts: tuple[str, ...] = ()
    abort: Abort = Abort()
    recovery: Recovery = Recovery()
    control: bool = False

    @property
    def targets(self) -> tuple[str, ...]:
        """Where it runs."""
        return tuple(place for place in get_args(Place) if place not in self.not_on)

    @model_validator(mode="after")
    def _can_be_judged(self) -> Self:
        if not self.bites and not self.control:
            raise ValueError("bites: an experiment says how one knows that its fault took effect")
        if not self.expect:
            raise ValueError("expect: an experiment says what should be seen")
        return self


def names() -> list[str]:
    """Every scenario, in the order of their files."""
    return sorted(path.stem for path in EXPERIMENTS.glob("*.yaml"))


def load(name: str, folder: Path = EXPERIMENTS) -> dict[str, Any]:
    """One experiment as Chaos Toolkit wants it.

    Raises:
        BadExperiment: there is none of that name, or it is not a mapping.
    """
    path = folder / f"{name}.yaml"
    if not path.is_file():
        raise BadExperiment(f"No scenario is called {name!r}. There are: {', '.join(names())}.")
    try:
        experiment = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadExperiment(f"{path.name}: not YAML: {error}") from None
    if not isinstance(experiment, dict):
        raise BadExperiment(f"{path.name}: an experiment is a mapping")
    return experiment


def why_not(name: str, place: str) -> str:
    """Why a scenario cannot run on a target, empty when it can. Raises `BadExperiment`."""
    reasons: Mapping[Any, str] = of(load(name)).not_on
    return reasons.get(place, "")


def of(experiment: Mapping[str, Any]) -> Definition:
    """The extension of an experiment.

    Raises:
        BadExperiment: it is missing or makes no sense.
    """
    found = [each for each in experiment.get("extensions", []) if each.get("name") == NAME]
    if len(found) != 1:
        raise BadExperiment(f"{experiment.get('title')}: exactly one extension named {NAME!r} is needed")
    try:
        return Definition.model_validate(found[0])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise BadExperiment(f"{found[0].get('scenario')}: extensions.{NAME}.{where}: {first['msg']}") from None
