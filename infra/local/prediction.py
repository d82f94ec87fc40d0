"""The predictor and the remediator of the stack: optional, beside the services, and on the loopback address only."""

import os
import sys
from pathlib import Path

from infra.local import ports, prometheus, secrets
from infra.local.settings import ROOT, LocalSettings
from infra.local.state import StateDirectory

PREDICTOR, REMEDIATION = "predictor", "remediation"
NAMES = (PREDICTOR, REMEDIATION)

_MODEL = "ml/models"
_BYTES_OF_A_SERVICE = 1024
"""Mebibytes that `memory` is a share of where the services have no limit."""


def predictor_url(settings: LocalSettings) -> str:
    """Where the predictor answers: the stack's, or one that was started by hand."""
    return f"http://{ports.LOOPBACK}:{settings.port_predictor}"


def remediation_url(settings: LocalSettings) -> str:
    """Where approvals are given, if what asks for them runs."""
    return f"http://{ports.LOOPBACK}:{settings.port_remediation}"


def commands(settings: LocalSettings, state: StateDirectory) -> dict[str, tuple[tuple[str, ...], int]]:
    """What the stack runs of the two: command and port, by program."""
    listed: dict[str, tuple[tuple[str, ...], int]] = {}
    if settings.predicts:
        listed[PREDICTOR] = ((sys.executable, "-m", "ml.predictor"), settings.port_predictor)
    if settings.remediates:
        listed[REMEDIATION] = (remediation(settings, state), settings.port_remediation)
    return listed


def environment(name: str, settings: LocalSettings, state: StateDirectory) -> dict[str, str]:
    """What is its own in the environment of one of them."""
    if name == REMEDIATION:
        # by which its commands find this stack
        return {"HOLDFAST_STATE_DIR": str(state.path)}
    memory = settings.service_memory_mb or _BYTES_OF_A_SERVICE
    return {
        "PROMETHEUS_URL": prometheus.url(settings),
        "MODEL_DIR": str(settings.model or ROOT / (settings.model_dir or _MODEL)),
        "TRUSTED_KEYS": os.pathsep.join(_absolute(each) for each in settings.trusted_keys.split(":") if each.strip()),
        "MINUTE_SECONDS": str(settings.minute_seconds),
        "MEMORY_BYTES": str(memory * 2**20),
        "HOST": ports.LOOPBACK,
        "PORT": str(settings.port_predictor),
        # one thread computes; OpenBLAS would keep a buffer for each processor
        "OPENBLAS_NUM_THREADS": "1",
    }


def remediation(settings: LocalSettings, state: StateDirectory) -> tuple[str, ...]:
    """The command that acts on predictions about this stack, whoever runs it."""
    options = {
        "--mode": settings.remediation,
        "--policy": _absolute(settings.remediation_policy),
        "--predictor": predictor_url(settings),
        "--prometheus": prometheus.url(settings),
        "--directory": str(state.path / "remediation"),
        "--token-file": str(state.secrets / secrets.OPERATOR / "admin_token"),
        "--port": str(settings.port_remediation),
        "--minute": str(settings.minute_seconds),
    }
    return (sys.executable, "-m", "ml.remediation", *(word for option in options.items() for word in option))


def _absolute(path: str) -> str:
    return str(ROOT / Path(path.strip()).expanduser())
