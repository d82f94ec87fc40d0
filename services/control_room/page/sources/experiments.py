"""Experiments: which there are, which runs, and what came of earlier ones, as their runner writes it down."""

import asyncio
import os
from pathlib import Path
from typing import Any

import orjson
import yaml

from services.control_room.page.web import Away

_SHOWN = 8
_MOST_BYTES = 4_000_000


class Experiments:
    """Reads two directories: the scenarios, and the runs. The runner is started elsewhere (`commands`)."""

    def __init__(self, scenarios: Path | None, runs: Path | None, elsewhere: str = "make chaos") -> None:
        self._scenarios, self._runs, self._elsewhere = scenarios, runs, elsewhere
        self._known: list[dict[str, Any]] = []

    async def scenarios(self) -> list[dict[str, Any]]:
        """Every scenario: `name`, `title`, `description`, `steady` (titles of probes), `expected`. Raises `Away`."""
        if self._scenarios is None:
            raise Away(f"Experiments are not beside this page: {self._elsewhere}")
        if not self._known:
            self._known = await asyncio.to_thread(_scenarios, self._scenarios)
        return self._known

    async def read(self) -> dict[str, Any]:
        """What runs now, and the last verdicts, newest first. Raises `Away`."""
        if self._runs is None:
            raise Away(f"Experiments are not run beside this page: {self._elsewhere}")
        return await asyncio.to_thread(_runs, self._runs)


def _scenarios(directory: Path) -> list[dict[str, Any]]:
    listed = []
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    for path in sorted(directory.glob("*.yaml")):
        try:
            read = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)  # noqa: S506 - a safe loader
            extension: dict[str, Any] = next(
                (each for each in read.get("extensions", ()) if each.get("name") == "holdfast"), {}
            )
            probes = read.get("steady-state-hypothesis", {}).get("probes", ())
            listed.append(
                {
                    "name": path.stem,
                    "title": read["title"],
                    "description": " ".join(read.get("description", "").split()),
                    "steady": [probe["name"] for probe in probes],
                    "expected": " ".join(str(extension.get("expected", "")).split()),
                    "fault_seconds": extension.get("fault_seconds"),
                }
            )
        except (OSError, yaml.YAMLError, KeyError, AttributeError, TypeError):
            listed.append({"name": path.stem, "title": "cannot be read", "description": "", "steady": []})
    if not listed:
        raise Away(f"there are no experiments in {directory}")
    return listed


def _runs(directory: Path) -> dict[str, Any]:
    running = under_way(directory)
    verdicts = []
    paths = sorted(directory.glob("*/verdict.json"), key=_modified, reverse=True)
    for path in paths[:_SHOWN]:
        found = _json(path)
        if found:
            shown = ("run", "scenario", "title", "verdict", "reason", "began", "ended")
            verdicts.append({name: found.get(name) for name in shown} | {"timeline": found.get("timeline", [])[-20:]})
    now = {"scenario": running["what"], "since": _modified(directory / "running.json")} if running else None
    return {"running": now, "verdicts": verdicts}


def under_way(directory: Path) -> dict[str, Any]:
    """What its runner says of the experiment that runs; empty when there is none, or the runner was killed."""
    running = _json(directory / "running.json")
    if not running:
        return {}
    try:
        os.kill(int(running["pid"]), 0)
    except ProcessLookupError:
        return {}
    except PermissionError:
        pass  # somebody else's process, and there
    except (KeyError, ValueError, TypeError, OverflowError):
        return {}
    return running


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MOST_BYTES:
            return {}
        found = orjson.loads(path.read_bytes() or b"{}")
    except (OSError, orjson.JSONDecodeError):
        return {}  # not there, or just being written
    return found if isinstance(found, dict) else {}
