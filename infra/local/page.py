"""The page of the control room: what it is told about the stack, and the link that opens it."""

import shlex
import sys

import httpx

from infra.local import control_room, ports, prediction, prometheus, secrets
from infra.local.databases import sqlite_url
from infra.local.errors import StackError
from infra.local.settings import CONTROL_ROOM, ROOT, LocalSettings
from infra.local.state import StateDirectory

PROGRAM = "control-room-page"
_REQUEST_SECONDS = 3.0


def url(settings: LocalSettings) -> str:
    """Base address; empty when the stack has no page."""
    return f"http://{ports.LOOPBACK}:{settings.port_page}" if settings.page == "on" else ""


def environment(settings: LocalSettings, state: StateDirectory) -> dict[str, str]:
    """What is its own in the environment of the page."""
    return {
        "INSTANCE": PROGRAM,
        "HOST": ports.LOOPBACK,
        "PORT": str(settings.port_page),
        "SERVICE_PORT": "0",
        "SECRETS_DIR": str(state.secrets / CONTROL_ROOM),
        "DATABASE_URL": sqlite_url(state, "control_room_page"),
        # each viewer asks once a second: a line of log for each answer helps nobody
        "LOG_LEVEL": "error" if settings.log_level == "error" else "warning",
        "ORDER_URL": f"http://{settings.host}:{settings.port}",
        "TRACES_URL": control_room.url(settings) if settings.traces == "on" else "",
        "PROMETHEUS_URL": prometheus.url(settings),
        "ALERTMANAGER_URL": prometheus.alertmanager_url(settings),
        "PREDICTOR_URL": prediction.predictor_url(settings),
        "REMEDIATION_URL": prediction.remediation_url(settings),
        "SCRAPE_SECONDS": str(settings.scrape_seconds),
        "TARGETS_FILE": str(prometheus.targets_file(state)),
        "DASHBOARDS_DIR": str(ROOT / "infra" / "grafana" / "dashboards"),
        "EXPERIMENTS_DIR": str(ROOT / "chaos" / "experiments"),
        "CHAOS_DIR": str(state.path / "chaos"),
        "CHAOS_COMMAND": shlex.join([sys.executable, "-m", "infra.local.experiment"]),
        "AUDIT_COMMAND": shlex.join([sys.executable, "-m", "infra.audit"]),
        # by which those commands find this stack
        "HOLDFAST_STATE_DIR": str(state.path),
    }


def link(settings: LocalSettings, state: StateDirectory) -> str:
    """The page's address with a code that logs one browser in, once.

    Raises:
        StackError: the page does not answer.
    """
    token = secrets.read(state, secrets.OPERATOR, "admin_token")
    try:
        answer = httpx.post(
            f"{url(settings)}/session/links",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_REQUEST_SECONDS,
            trust_env=False,
        )
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise StackError(f"The page does not answer at {url(settings)}: {error}") from error
    return f"http://localhost:{settings.port_page}/#login={answer.json()['code']}"
