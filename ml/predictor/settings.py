"""What the sidecar is told at its start, read from the environment."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ml.features.signals import Scale

EX_CONFIG = 78
"""Exit code of sysexits(3) for bad configuration: starting again would not help."""

_ROOT = Path(__file__).resolve().parents[2]


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message names it and says why."""


class SidecarSettings(BaseSettings):
    """Each field is the environment variable of its name.

    trusted_keys:   public keys that may have signed the model: files or directories of `*.pub`, with `:` between
    minute_seconds: what counts as a minute, as in the recording that the model was trained on
    memory_bytes:   what a process of a service may hold
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, protected_namespaces=())

    prometheus_url: str = "http://127.0.0.1:9090"
    model_dir: Path = _ROOT / "ml" / "models"
    trusted_keys: str = os.pathsep.join(str(_ROOT / place) for place in ("ml/keys", ".local/ml"))
    minute_seconds: float = Field(default=60.0, ge=1, le=600, allow_inf_nan=False)
    memory_bytes: float = Field(default=1024 * 2**20, gt=0, allow_inf_nan=False)
    host: str = "127.0.0.1"
    port: int = Field(default=8095, ge=0, le=65535)
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("prometheus_url")
    @classmethod
    def _a_url(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")):
            raise ValueError("must start with http:// or https://")
        return url

    @property
    def key_places(self) -> list[Path]:
        """Where public keys are looked for."""
        return [Path(place) for place in self.trusted_keys.split(os.pathsep) if place]

    @property
    def scale(self) -> Scale:
        """The clock and the memory of the platform that is watched."""
        return Scale(minute=self.minute_seconds, memory_bytes=self.memory_bytes)

    @classmethod
    def load(cls) -> Self:
        """The settings of this process. Raises ConfigurationError."""
        try:
            return cls()
        except ValidationError as error:
            problems = error.errors(include_input=False, include_url=False)
            lines = (f"{str(problem['loc'][0]).upper()}: {problem['msg']}" for problem in problems)
            raise ConfigurationError("; ".join(lines)) from None
        except SettingsError as error:
            raise ConfigurationError(" ".join(str(error).split())) from None
