"""The policy file: what may be done, checked when it is read, with the line of what is wrong."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ml.features.signals import FELT, of_callees

DEFAULT = Path(__file__).with_name("policy.yaml")
LONGEST_DRAIN_MINUTES = 10.0


class PolicyError(Exception):
    """The file cannot be used; the text is `file:line: what is wrong`, a line for each."""


class Mode(StrEnum):
    """Who decides: nobody (it is only said), a person, or the policy."""

    SHADOW = "shadow"
    APPROVE = "approve"
    AUTO = "auto"


class Kind(StrEnum):
    """What can be done to a service."""

    SCALE = "scale"
    RESTART = "restart"
    DRAIN = "drain"


AUTOMATIC = frozenset({Kind.SCALE})
"""What `auto` does without a person: only what takes nothing away."""

OF_CALLEES = {of_callees(name): name for name in FELT}
"""Signals of whom a service calls, and what each is called there."""

Minutes = Annotated[float, Field(gt=0, le=1440)]
Share = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Persistence(_Part):
    """An alarm needs `k` of the last `n` minutes."""

    k: int = Field(3, ge=1, le=60)
    n: int = Field(5, ge=1, le=60)

    @model_validator(mode="after")
    def _possible(self) -> "Persistence":
        if self.k > self.n:
            raise ValueError(f"{self.k} of {self.n} minutes can never be")
        return self


class BlastRadius(_Part):
    """The most that may be changed: of services at a time, of actions an hour, of replicas."""

    services_at_once: int = Field(1, ge=1, le=20)
    actions_per_hour: int = Field(3, ge=0, le=60)
    step: int = Field(1, ge=1, le=10)
    most_replicas: dict[str, Annotated[int, Field(ge=1, le=100)]] = Field(default_factory=dict)


class Verification(_Part):
    """When to look whether it helped, and how far the probability must have fallen if the alarm is not over."""

    after_minutes: Minutes = 10
    least_drop: Share = 0.3


class Whom(StrEnum):
    """Whom a remedy is for: the service that is warned of, or the one that it calls and suffers from."""

    ITSELF = "itself"
    CALLEE = "callee"


class Remedy(_Part):
    """What to try, in order, when one of these signals moved most; no signals: whichever it was."""

    signals: tuple[str, ...] = ()
    treat: Whom = Whom.ITSELF
    actions: tuple[Kind, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be(self) -> "Remedy":
        if len(set(self.actions)) < len(self.actions):
            raise ValueError("an action stands on a ladder once")
        if self.treat is Whom.CALLEE and not (self.signals and set(self.signals) <= OF_CALLEES.keys()):
            raise ValueError(f"only {', '.join(OF_CALLEES)} say that it suffers from whom it calls")
        return self


class Policy(_Part):
    """The whole file; what a field means stands beside it in `policy.yaml`."""

    mode: Mode = Mode.SHADOW
    kill_switch: bool = False
    false_alarms_per_day: float = Field(1, gt=0, le=100)
    lowest_threshold: Share = 0.2
    persistence: Persistence = Persistence()
    release_ratio: Share = 0.5
    stale_minutes: Minutes = 3
    control_share: float = Field(0.2, ge=0, lt=1)
    cooldown_minutes: Minutes = 15
    rung_minutes: Minutes = 10
    blast_radius: BlastRadius = BlastRadius()
    verification: Verification = Verification()
    give_back_minutes: float = Field(30, ge=0, le=1440)
    approval_minutes: Minutes = 15
    drain_minutes: float = Field(5, gt=0, le=LONGEST_DRAIN_MINUTES)
    remedies: tuple[Remedy, ...] = (Remedy(actions=(Kind.SCALE,)),)

    def remedy(self, signals: Sequence[str]) -> tuple[Remedy, str] | None:
        """What to try for a warning whose signals are these, the one that moved most first, and the signal it is for.

        The signal is empty for a remedy that is for any; None: nothing fits.
        """
        for signal in (*signals, ""):
            for remedy in self.remedies:
                if signal in remedy.signals or not (signal or remedy.signals):
                    return remedy, signal
        return None


def load(path: Path) -> Policy:
    """Read the file.

    Raises:
        PolicyError: it is away, not YAML, or says what cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        told = yaml.safe_load(text)
    except OSError as error:
        raise PolicyError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{path}: not UTF-8") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise PolicyError(f"{path}:{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise PolicyError(f"{path}: {error}") from error
    if not isinstance(told, dict):
        raise PolicyError(f"{path}:1: not a mapping of settings")
    try:
        return Policy.model_validate(told)
    except ValidationError as error:
        lines = [f"{path}:{_line(root, each['loc'])}: {_name(each['loc'])}{each['msg']}" for each in error.errors()]
        raise PolicyError("\n".join(lines)) from error


def _name(location: Sequence[int | str]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _line(node: yaml.Node | None, location: Sequence[int | str]) -> int:
    """The line of the innermost part that the location names and the file has."""
    line = 1
    for step in location:
        found: yaml.Node | None = None
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == str(step):
                    line, found = key.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
            line = found.start_mark.line + 1
        if found is None:
            break
        node = found
    return line
