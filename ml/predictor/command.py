"""`python -m ml.predictor`: checks the model, then watches and answers until it is told to stop."""

import asyncio
import logging
import signal
import socket
import sys
from typing import NoReturn

import httpx
import structlog
import uvicorn

from ml import artefact
from ml.artefact import Artefact, ArtefactRefused
from ml.features.prometheus import Prometheus
from ml.lean import give_back
from ml.predictor.answers import DIGITS
from ml.predictor.app import create_app
from ml.predictor.asking import Questions
from ml.predictor.metrics import Counts
from ml.predictor.scorer import Scorer
from ml.predictor.settings import EX_CONFIG, ConfigurationError, SidecarSettings
from ml.predictor.watch import Watch

EX_TEMPFAIL = 75
"""Exit code of sysexits(3): what stopped the start may be gone at the next try."""

_BACKLOG = 128
_DRAIN_SECONDS = 3


def main() -> NoReturn:
    """Exit codes: 0 after a drain; 78 for a bad setting or a model that is refused; 75 for a port in use."""
    try:
        settings = SidecarSettings.load()
        model = checked_model(settings)
        scorer = Scorer(model)
        give_back()
    except (ConfigurationError, ArtefactRefused) as error:
        _give_up(EX_CONFIG, str(error))
    _configure_logs(settings.log_level)
    try:
        listener = socket.create_server((settings.host, settings.port), backlog=_BACKLOG)
    except OSError as error:
        _give_up(EX_TEMPFAIL, f"cannot listen: {settings.host}:{settings.port}: {error.strerror or error}")
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal once more after its drain: without a handler the process would die of it
        signal.signal(number, lambda _number, _frame: None)
    asyncio.run(_serve(settings, model, scorer, listener))
    sys.exit(0)


def checked_model(settings: SidecarSettings) -> Artefact:
    """The signed model of the settings. Raises ArtefactRefused, with what to do about it."""
    if not (settings.model_dir / artefact.MANIFEST).exists():
        raise ArtefactRefused(f"MODEL_DIR: no model in {settings.model_dir}: `make train` makes one")
    keys = artefact.trusted_keys(*settings.key_places)
    if not keys:
        raise ArtefactRefused(f"TRUSTED_KEYS: no public key in {settings.trusted_keys}: `make train` leaves one")
    return artefact.read(settings.model_dir, keys)


async def _serve(settings: SidecarSettings, model: Artefact, scorer: Scorer, listener: socket.socket) -> None:
    timeout = httpx.Timeout(min(10.0, settings.minute_seconds))
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    async with httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as client:
        questions = Questions(Prometheus(client, settings.prometheus_url), settings.scale)
        counts = Counts(model.manifest.sha256[:DIGITS])
        watch = Watch(questions, scorer, model.manifest, settings.scale, counts)
        app = create_app(watch, model.manifest, counts)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            ws="none",
            timeout_graceful_shutdown=_DRAIN_SECONDS,
        )
        await uvicorn.Server(config).serve([listener])


def _configure_logs(level: str) -> None:
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=max(threshold, logging.WARNING), stream=sys.stdout)


def _give_up(code: int, reason: str) -> NoReturn:
    sys.stderr.write(f"{' '.join(reason.split())}\n")
    raise SystemExit(code) from None
