"""Faults that the page offers by name."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

_FILE = Path(__file__).with_name("drills.yaml")


class Drill(BaseModel):
    """One of them: what `POST /admin/faults` of each replica of `service` is sent, beside the seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    title: str
    service: str
    fault: dict[str, Any]


def load() -> dict[str, Drill]:
    """All of them, by name."""
    listed = [Drill.model_validate(each) for each in yaml.safe_load(_FILE.read_text(encoding="utf-8"))]
    return {drill.name: drill for drill in listed}
