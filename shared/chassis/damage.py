"""Whether an SQLite file is whole: looked at before a service starts on it, for a bounded time."""

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from shared.chassis.outage import is_damage

CHECK_SECONDS = 2.0
"""How long the look may take: some 3 GB that are in the page cache, less from a disk."""

_INSTRUCTIONS_BETWEEN_LOOKS = 10_000


def find_damage(path: Path, seconds: float = CHECK_SECONDS) -> str:
    """What is wrong with the file, in SQLite's words; empty when nothing is, or when nothing was found in time.

    The structure of every page and row is looked at, as by `PRAGMA quick_check`: it needs no lock that a writer would
    wait for. A file that is not there, or empty, is a database that is still to be made.
    """
    try:
        size = path.stat().st_size
    except OSError:
        return ""  # whoever opens it says what is wrong with the place
    if not size:
        log = path.with_name(f"{path.name}-wal")
        return "the file is empty and its write-ahead log is not" if log.exists() and log.stat().st_size else ""
    until = time.monotonic() + seconds
    with closing(sqlite3.connect(os.fspath(path), timeout=seconds, isolation_level=None)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > until, _INSTRUCTIONS_BETWEEN_LOOKS)
        try:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            # else the time is over, or it cannot be read now: that, too, is for whoever opens it to tell
            return str(error) if is_damage(error) else ""
    return "" if found == "ok" else " ".join(str(found).split())
