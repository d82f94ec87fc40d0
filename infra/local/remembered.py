"""The settings that a running stack was started with."""

import json
from pathlib import Path

from infra.local import sources
from infra.local.control import Control
from infra.local.settings import SERVICES, LocalSettings
from infra.local.state import StateDirectory

# How many replicas start and how long to wait are questions of each command, not of the stack.
_OF_THE_COMMAND = {"ready_timeout", *(f"replicas_{service.key}" for service in SERVICES)}


def remember(settings: LocalSettings, state: StateDirectory) -> None:
    """Write down the settings of the stack that has just been started; passwords in them are masked."""
    _file(state).write_text(json.dumps(_dump(settings), indent=2), encoding="utf-8")


def differences(settings: LocalSettings, state: StateDirectory) -> list[str]:
    """The settings in which a running stack differs from these; those that any command may change do not count."""
    if not _file(state).exists():
        return []
    started_with = json.loads(_file(state).read_text(encoding="utf-8"))
    now = _dump(settings)
    return sorted(key for key in now if key not in _OF_THE_COMMAND and started_with.get(key) != now[key])


def in_force(chosen: LocalSettings | None = None) -> LocalSettings:
    """The settings of the stack that runs in the chosen state directory; those chosen when none runs there.

    Raises:
        SettingsError: nothing was chosen, and what stands in the file or the environment is wrong.
    """
    chosen = chosen or sources.load()
    state = StateDirectory(chosen.state)
    if not _file(state).exists() or not Control(state.socket()).running():
        return chosen
    return LocalSettings(**json.loads(_file(state).read_text(encoding="utf-8")))


def _file(state: StateDirectory) -> Path:
    return state.run / "settings.json"


def _dump(settings: LocalSettings) -> dict[str, object]:
    shown = {"state_dir": str(settings.state), "database": settings.masked_database()}
    return settings.model_dump(mode="json") | shown
