"""Secrets of one stack: made once, kept in files that only their owner reads, never shown."""

import base64
import os
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path

from nacl.public import PrivateKey

from infra.local.settings import CONTROL_ROOM, MODULES
from infra.local.state import StateDirectory

OPERATOR = "operator"

# A key that two services share signs the tokens of that one edge.
_EDGES = {
    "order_to_payment_key": ("order", "payment"),
    "order_to_inventory_key": ("order", "inventory"),
}


def ensure(state: StateDirectory) -> None:
    """Make every secret that is missing. Secrets that exist stay as they are, so tokens survive a restart."""
    for holder in (*MODULES, OPERATOR):
        (state.secrets / holder).mkdir(mode=0o700, exist_ok=True)
        _ensure_shared(state, "nats_password", (holder,), _token)
    # One admin token, so that the operator's opens every service.
    _ensure_shared(state, "admin_token", (*MODULES, CONTROL_ROOM, OPERATOR), _token)
    for sender in MODULES:
        token = ensure_own(state, sender, "otlp_token")
        if not _is(state, CONTROL_ROOM, f"{sender}_otlp_token", token):
            write(state, CONTROL_ROOM, f"{sender}_otlp_token", token)
    ensure_own(state, CONTROL_ROOM, "alert_token")
    for name, holders in _EDGES.items():
        _ensure_shared(state, name, holders, _token)
    _ensure_sealing_pair(state)


def read(state: StateDirectory, holder: str, name: str) -> str:
    """One secret.

    Raises:
        FileNotFoundError: it was never made.
    """
    return (state.secrets / holder / name).read_text(encoding="utf-8").strip()


def write(state: StateDirectory, holder: str, name: str, value: str) -> None:
    """Write one secret whole: a reader sees the old value or the new one."""
    directory = state.secrets / holder
    directory.mkdir(mode=0o700, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=directory)  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(value)
        Path(temporary).replace(directory / name)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def ensure_own(state: StateDirectory, holder: str, name: str) -> str:
    """A secret of one holder, made when it is missing."""
    _ensure_shared(state, name, (holder,), _token)
    return read(state, holder, name)


def forget(state: StateDirectory, holder: str, name: str) -> None:
    """Remove one secret, if it is there."""
    (state.secrets / holder / name).unlink(missing_ok=True)


def _token() -> str:
    return secrets.token_urlsafe(32)


def _ensure_shared(state: StateDirectory, name: str, holders: tuple[str, ...], make: Callable[[], str]) -> None:
    """One value in several directories: what a start that was interrupted left out is filled in from what is there."""
    present = [holder for holder in holders if (state.secrets / holder / name).exists()]
    value = read(state, present[0], name) if present else make()
    for holder in holders:
        if holder not in present:
            write(state, holder, name, value)


def _ensure_sealing_pair(state: StateDirectory) -> None:
    private = state.secrets / "payment" / "card_sealing_private_key"
    if private.exists():
        key = PrivateKey(base64.b64decode(private.read_bytes()))
    else:
        key = PrivateKey.generate()
        write(state, "payment", private.name, base64.b64encode(bytes(key)).decode())
    public = base64.b64encode(bytes(key.public_key)).decode()
    if not _is(state, "order", "card_sealing_public_key", public):
        write(state, "order", "card_sealing_public_key", public)


def _is(state: StateDirectory, holder: str, name: str, value: str) -> bool:
    path = state.secrets / holder / name
    return path.exists() and path.read_text(encoding="utf-8").strip() == value
