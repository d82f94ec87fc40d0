"""Keeps packages out of a service's memory that a library would import only because they happen to be installed."""

import sys

_FOR_DEVELOPERS = ("rich",)  # structlog loads it for its console, which a service does not have: 8 MB


def without(*packages: str) -> None:
    """Make importing `packages`, and those for developers, fail in this process. To be called before anything else."""
    for package in (*_FOR_DEVELOPERS, *packages):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
