"""What the gate can be asked: the file of named objectives, checked."""

from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FILE = Path(__file__).with_name("objectives.yaml")
"""Written by `make chaos-manifests` from the experiments and from infra/prometheus/slo.yaml."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$", max_length=63)]


class BadObjectives(Exception):
    """The file does not make sense; the message says where."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Check(_Part):
    """One query and its bound, which every series of the answer must keep."""

    reading: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    promql: Annotated[str, Field(min_length=1)]
    at_least: float | None = None
    at_most: float | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give at_least or at_most")
        return self

    def worst(self, values: list[float]) -> float:
        """The value nearest to, or furthest beyond, the bound; `values` is not empty."""
        return min(values) if self.at_least is not None else max(values)

    def holds(self, value: float) -> bool:
        """The value is within the bound."""
        return value >= self.at_least if self.at_least is not None else value <= (self.at_most or 0.0)

    @property
    def bound(self) -> str:
        """The bound in words."""
        return f"at least {self.at_least:g}" if self.at_least is not None else f"at most {self.at_most:g}"


class Objective(_Part):
    """What has to hold, all of it."""

    name: Name
    checks: Annotated[tuple[Check, ...], Field(min_length=1)]


class _File(_Part):
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1)]


def read(path: Path = FILE) -> dict[str, Objective]:
    """The objectives of a file by name.

    Raises:
        BadObjectives: it cannot be read, is not what it should be, or has a name twice.
    """
    try:
        found = _File.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).objectives
    except (OSError, yaml.YAMLError) as error:
        raise BadObjectives(f"{path}: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise BadObjectives(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    by_name = {each.name: each for each in found}
    if len(by_name) != len(found):
        raise BadObjectives(f"{path}: a name stands there twice")
    return by_name
