"""The settings of the page."""

import shlex
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from shared.chassis.settings import ServiceSettings


class PageSettings(ServiceSettings):
    """Beside what every service has: where to look, and the commands behind the levers.

    What is left empty is missing from the page, which says so. `targets_file` is a list of replicas in Prometheus'
    format for service discovery; without it Prometheus is asked whom it scrapes. `allowed_hosts` are names, beside
    those of the loopback address, that the page may be asked by.
    """

    service: Literal["control_room"] = "control_room"
    alert_token: SecretStr = Field(min_length=16)

    order_url: str = ""
    traces_url: str = ""
    predictor_url: str = ""
    remediation_url: str = ""
    alertmanager_url: str = ""
    grafana_url: str = ""
    targets_file: Path | None = None
    scrape_seconds: float = Field(default=5.0, gt=0, le=60)

    dashboards_dir: Path | None = None
    experiments_dir: Path | None = None
    chaos_dir: Path | None = None
    chaos_command: str = ""
    audit_command: str = ""

    allowed_hosts: str = ""
    session_hours: float = Field(default=12.0, gt=0, le=24 * 7)

    @field_validator("chaos_command", "audit_command")
    @classmethod
    def _splits_into_words(cls, command: str) -> str:
        try:
            shlex.split(command)
        except ValueError as error:
            raise ValueError(f"is no command line: {error}") from None
        return command

    def hosts(self) -> frozenset[str]:
        """Names that a request may call this host by."""
        given = (name.strip().lower() for name in self.allowed_hosts.split(","))
        return frozenset({"localhost", "127.0.0.1", "[::1]", *(name for name in given if name)})
