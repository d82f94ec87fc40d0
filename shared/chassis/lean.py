"""Keeps packages out of a service's memory that a library would import only because they happen to be installed."""

import gc
import sys

# structlog loads rich for its console, and mako (through alembic) pygments for coloured errors: 8 MB and 6 MB
_FOR_DEVELOPERS = ("rich", "pygments")

_COLLECT_AFTER = (50_000, 20, 100)
"""Until `serve` has started; it sets what suits requests."""


def without(*packages: str) -> None:
    """Make importing `packages`, and those for developers, fail in this process. To be called before anything else.

    The garbage collector works rarely from here on: what is imported stays, and looking for garbage in it is a tenth of
    the time of a start.
    """
    gc.set_threshold(*_COLLECT_AFTER)
    for package in (*_FOR_DEVELOPERS, *packages):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
