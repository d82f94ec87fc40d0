"""Keeps out of a process that serves what its libraries only import because it happens to be installed."""

import sys

# for consoles and colours: structlog, httpx's command line, and whatever asks for them in between
_FOR_DEVELOPERS = ("rich", "pygments")


def lean(*more: str) -> None:
    """Make importing these fail in this process. To be called before anything else is imported."""
    for package in (*_FOR_DEVELOPERS, *more):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]
