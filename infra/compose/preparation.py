"""What the containers find mounted: secrets, generated configuration, directories for their data.

Everything in the containers runs as one user. That is the caller, so that files which only their owner reads can be
mounted as they are; the caller is root, so a user of the images' own gets them.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from sqlalchemy.engine import URL

from infra.local import nats, prometheus, secrets
from infra.local.settings import CONTROL_ROOM, MODULES, ROOT, LocalSettings
from infra.local.state import StateDirectory

IMAGES_USER = 10_001
"""User and group of the images; the Dockerfile says the same."""

POSTGRES, GRAFANA, AUDITOR = "postgres", "grafana", "auditor"
PREDICTION, REMEDIATION = "prediction", "remediation"
"""The profiles of docker-compose.yml: the predictor, and what acts on what it says."""
_KEPT = ("postgres", "nats", "jaeger", "prometheus", "alertmanager", "grafana", "page", REMEDIATION)
_GENERATED = ("nats", "alertmanager", "envoy")
_SHARED = ("admin", "audit")
"""What containers and this machine both write to: Envoy's administration, and what the auditor reads and says."""


def state_of(settings: LocalSettings) -> StateDirectory:
    """Where the containers' stack keeps what it writes: apart from the local stack's, so that both keep their data."""
    return StateDirectory(settings.state / "compose")


def admin_socket(settings: LocalSettings) -> Path:
    """The Unix socket of Envoy's administration, for the user of the containers (and root) alone."""
    return state_of(settings).run / "admin" / "admin.sock"


def audit_directory(settings: LocalSettings) -> Path:
    """What the operator's tools see as `/audit`."""
    return state_of(settings).run / "audit"


def project_of(settings: LocalSettings) -> str:
    """Compose's name for the stack: one for each state directory, so that two checkouts do not meet."""
    return f"holdfast-{hashlib.sha256(os.fsencode(state_of(settings).path)).hexdigest()[:8]}"


def user() -> tuple[int, int]:
    """User and group that the containers run as."""
    return (IMAGES_USER, IMAGES_USER) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def variables(settings: LocalSettings) -> dict[str, str]:
    """What docker-compose.yml asks for and the settings decide."""
    uid, gid = user()
    return {
        "HOLDFAST_COMPOSE_STATE": str(state_of(settings).path),
        "HOLDFAST_UID": str(uid),
        "HOLDFAST_GID": str(gid),
        "HOLDFAST_PORT": str(settings.port),
        "HOLDFAST_PAGE_PORT": str(settings.port_page),
        "HOLDFAST_PROMETHEUS_PORT": str(settings.prometheus_port),
        "HOLDFAST_ALERTMANAGER_PORT": str(settings.alertmanager_port),
        "HOLDFAST_PROMETHEUS_DAYS": str(settings.prometheus_days),
        "HOLDFAST_PROMETHEUS_MB": str(settings.prometheus_mb),
        "HOLDFAST_LOG_LEVEL": settings.log_level,
        "HOLDFAST_MINUTE_SECONDS": f"{settings.minute_seconds:g}",
        "HOLDFAST_REMEDIATION": settings.remediation,
        "HOLDFAST_REMEDIATION_POLICY": str(ROOT / Path(settings.remediation_policy).expanduser()),
        **_prediction(settings),
    }


def predicts(settings: LocalSettings) -> bool:
    """There is a model for the predictor's container, and a directory of keys that may have signed it."""
    return settings.prediction != "off" and settings.model is not None and _keys(settings) is not None


def remediates(settings: LocalSettings) -> bool:
    """What acts on predictions is wanted, and there are some."""
    return predicts(settings) and settings.remediation != "off"


def profiles(settings: LocalSettings) -> dict[str, str]:
    """The variable that says which optional containers are part of the stack."""
    chosen = [PREDICTION] * predicts(settings) + [REMEDIATION] * remediates(settings)
    return {"COMPOSE_PROFILES": ",".join(chosen)} if chosen else {}


def prepare(settings: LocalSettings, envoy: str) -> None:
    """Write all of it. Secrets that exist stay as they are; so does data.

    Args:
        envoy: Envoy's configuration.
    """
    state = state_of(settings)
    state.create()
    # For tools that look at the containers without this package.
    (state.path / "project").write_text(project_of(settings), encoding="utf-8")
    secrets.ensure(state)
    _ensure_database_secrets(state)
    secrets.ensure_own(state, GRAFANA, "admin_password")
    _ensure(state, CONTROL_ROOM, "database_url", "sqlite+aiosqlite:////data/page.sqlite")
    _ensure(state, REMEDIATION, "admin_token", secrets.read(state, secrets.OPERATOR, "admin_token"))
    for name in _KEPT:
        (state.data / name).mkdir(mode=0o700, exist_ok=True)
    generated = {
        "nats/nats.conf": _broker(settings, state),
        "alertmanager/alertmanager.yml": prometheus.render_alertmanager(settings),
        "envoy/envoy.yaml": envoy,
    }
    for name in (*_GENERATED, *_SHARED):
        (state.run / name).mkdir(mode=0o700, exist_ok=True)
    for path, text in generated.items():
        _write(state.run / path, text)
    alone = [*(state.data / name for name in _KEPT), *(state.run / name for name in _SHARED)]
    hand_over([state.secrets, *(state.run / name for name in _GENERATED)], alone)


def _keys(settings: LocalSettings) -> Path | None:
    """The first directory of keys that is there; a container is given one."""
    places = (ROOT / Path(each).expanduser() for each in settings.trusted_keys.split(":") if each.strip())
    return next((each for each in places if each.is_dir() and any(each.glob("*.pub"))), None)


def _prediction(settings: LocalSettings) -> dict[str, str]:
    if not predicts(settings):
        return {}
    return {"HOLDFAST_MODEL_DIR": str(settings.model), "HOLDFAST_KEYS_DIR": str(_keys(settings))}


def _broker(settings: LocalSettings, state: StateDirectory) -> str:
    """The broker's configuration, which holds passwords. JSON is valid in the server's own format."""
    passwords = {name: secrets.read(state, name, "nats_password") for name in (*MODULES, secrets.OPERATOR)}
    configuration = {
        "server_name": "holdfast-compose",
        "listen": "0.0.0.0:4222",
        "http": "127.0.0.1:8222",
        "jetstream": {
            "store_dir": "/data",
            "max_memory_store": settings.nats_memory_mb * 1024 * 1024,
            "max_file_store": settings.nats_file_mb * 1024 * 1024,
        },
        "max_payload": 1024 * 1024,
        "max_connections": 256,
        "authorization": nats.authorization(passwords),
    }
    return json.dumps(configuration, indent=2) + "\n"


def _ensure_database_secrets(state: StateDirectory) -> None:
    secrets.ensure_own(state, POSTGRES, "password")
    auditor = secrets.ensure_own(state, POSTGRES, "auditor_password")
    for module in MODULES:
        password = secrets.ensure_own(state, POSTGRES, f"{module}_password")
        _ensure(state, module, "database_url", _url(module, password, module))
        _ensure(state, secrets.OPERATOR, f"{module}_database_url", _url(AUDITOR, auditor, module))


def _url(role: str, password: str, database: str) -> str:
    url = URL.create("postgresql+asyncpg", role, password, host=POSTGRES, port=5432, database=database)
    return url.render_as_string(hide_password=False)


def _ensure(state: StateDirectory, holder: str, name: str, value: str) -> None:
    path = state.secrets / holder / name
    if not path.exists() or path.read_text(encoding="utf-8") != value:
        secrets.write(state, holder, name, value)


def _write(path: Path, text: str) -> None:
    # Renamed into place: what holds a password is never there half-written, or readable by others.
    temporary = path.with_suffix(".part")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def hand_over(whole: Iterable[Path], only_themselves: Iterable[Path] = ()) -> None:
    """Give files and directories, `whole` with all that is in them, to the user whom the containers run as."""
    if os.geteuid() != 0:
        return
    paths = [*only_themselves]
    for directory in whole:
        paths += [directory, *directory.rglob("*")]
    for path in paths:
        os.chown(path, *user(), follow_symlinks=False)
