"""Keeps a process that serves small: without what is only imported because it is installed, or only kept once freed."""

import ctypes
import sys

# for consoles and colours: structlog, httpx's command line, and whatever asks for them in between
_FOR_DEVELOPERS = ("rich", "pygments")


def lean(*more: str) -> None:
    """Make importing these fail in this process. To be called before anything else is imported."""
    for package in (*_FOR_DEVELOPERS, *more):
        sys.modules.setdefault(package, None)  # type: ignore[arg-type]


def give_back() -> None:
    """Return what is freed to the system, where the C library can: after a model was read some 40 MB of 125."""
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)
