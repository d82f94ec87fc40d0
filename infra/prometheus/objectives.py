"""The objectives and symptoms as they stand in `slo.yaml` and `symptoms.yaml`, checked."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

HERE = Path(__file__).parent

Window = Annotated[str, Field(pattern=r"^\d+[smhdw]$")]
AlertName = Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")]
Severity = Literal["page", "ticket"]
Dashboard = Annotated[str, Field(pattern=r"^[a-z-]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BurnRate(_Strict):
    """Alert when both windows burn the budget at `factor` times the rate that lasts for just the period."""

    factor: Annotated[float, Field(gt=0)]
    long: Window
    short: Window
    severity: Severity


class Objective(_Strict):
    """The share of the requests in `total` that must be good; `bad` or `good` select those that are."""

    name: Annotated[str, Field(pattern=r"^[a-z-]+$")]
    alert: AlertName
    objective: Annotated[float, Field(gt=0, lt=1)]
    promise: str
    total: str
    bad: str = ""
    good: str = ""
    dashboard: Dashboard

    @model_validator(mode="after")
    def _one_way_to_count(self) -> "Objective":
        if bool(self.bad) == bool(self.good):
            raise ValueError(f"{self.name}: give either `bad` or `good`")
        return self

    @property
    def budget(self) -> float:
        """The share that may fail, without the noise of binary fractions."""
        return round(1 - self.objective, 9)


class Links(_Strict):
    """Where runbooks and dashboards are."""

    runbooks: str
    dashboards: str


class Objectives(_Strict):
    """All of `slo.yaml`."""

    period: Window
    links: Links
    burn_rates: Annotated[list[BurnRate], Field(min_length=1)]
    objectives: Annotated[list[Objective], Field(min_length=1)]


class Symptom(_Strict):
    """One alert that is no objective's."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    alert: AlertName
    expr: str
    lasting: Annotated[Window, Field(alias="for")] = "0s"
    severity: Severity
    summary: str
    dashboard: Dashboard


class Symptoms(_Strict):
    """All of `symptoms.yaml`."""

    symptoms: list[Symptom]


def read_objectives(path: Path = HERE / "slo.yaml") -> Objectives:
    """The objectives. Raises `pydantic.ValidationError` or `yaml.YAMLError` for a wrong file."""
    return Objectives.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def read_symptoms(path: Path = HERE / "symptoms.yaml") -> list[Symptom]:
    """The symptoms. Raises as `read_objectives` does."""
    return Symptoms.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).symptoms
