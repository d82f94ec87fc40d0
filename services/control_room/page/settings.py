"""The settings of the page."""

import shlex
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from services.control_room.page.places import Where
from services.control_room.page.sources import names
from shared.chassis.settings import ServiceSettings


class PageSettings(ServiceSettings):
    """Beside what every service has: where to look, and the commands behind the levers.

    What is left empty is missing from the page, which says so. Replicas are found in `targets_file`, a list in
    Prometheus' format for service discovery; or else behind `replica_names`, words like `order=order-replicas:8080`,
    each address of a name being one; or else by asking Prometheus whom it scrapes. `place` says by which commands one
    does there what the page cannot. A `*_link` is the address for a browser, where that is another one.
    `allowed_hosts` are names, beside those of the loopback address, that the page may be asked by.
    """

    service: Literal["control_room"] = "control_room"
    alert_token: SecretStr = Field(min_length=16)

    order_url: str = ""
    traces_url: str = ""
    predictor_url: str = ""
    remediation_url: str = ""
    alertmanager_url: str = ""
    grafana_url: str = ""
    prometheus_link: str = ""
    alertmanager_link: str = ""
    traces_link: str = ""
    place: Where = "local"
    targets_file: Path | None = None
    replica_names: str = ""
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

    @field_validator("replica_names")
    @classmethod
    def _are_names_of_replicas(cls, text: str) -> str:
        names.parsed(text)
        return text

    def hosts(self) -> frozenset[str]:
        """Names that a request may call this host by."""
        given = (name.strip().lower() for name in self.allowed_hosts.split(","))
        named = (f"[{name}]" if ":" in name else name for name in given if name)
        return frozenset({"localhost", "127.0.0.1", "[::1]", *named})
