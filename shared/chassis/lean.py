"""Keeps packages out of a service's memory that a library would import only because they happen to be installed."""

import sys

# structlog loads rich for its console, and mako (through alembic) pygments for coloured errors: 8 MB and 6 MB
_FOR_DEVELOPERS = ("rich", "pygments")


def without(*packages: str) -> None:
    """Make importing `packages`, and those for developers, fail in this process. To be called before anything else."""
    for package in (*_FOR_DEVELOPERS, *packages):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
