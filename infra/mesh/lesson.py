"""Retries in the mesh, for a lesson: Envoy repeats charges by itself, whatever the application does.

Off unless somebody switches it on; the switch lives in Envoy's memory, so a restarted Envoy has it off. The lesson: two
layers that retry multiply (`make compare`).
"""

from pathlib import Path

from infra.envoy.admin import Admin

_KEY = "lesson.repeats_charges"
_ALL_REQUESTS = "100"


def repeat_charges(socket: Path, *, on: bool) -> None:
    """Let the mesh repeat charges, or no more.

    Args:
        socket: the Unix socket of Envoy's administration.

    Raises:
        infra.envoy.admin.AdminError: Envoy does not answer.
    """
    # An empty value takes a key out of the runtime.
    Admin(socket).modify_runtime({_KEY: _ALL_REQUESTS if on else ""})


def repeats_charges(socket: Path) -> bool:
    """Whether it does. Raises as `repeat_charges`."""
    return Admin(socket).runtime().get(_KEY, "") == _ALL_REQUESTS
