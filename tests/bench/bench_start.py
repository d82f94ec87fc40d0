"""How long `make up` takes from nothing and when all is there, and how much memory the platform has then.

Run it by `make bench-start`. It clones the committed tree, so that nothing of this one helps, and uses free ports.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from infra.local import processes
from infra.local.harness import settings_for
from infra.local.settings import LocalSettings

ROOT = Path(__file__).resolve().parents[2]
COLD_LIMIT_SECONDS, WARM_LIMIT_SECONDS, MEMORY_LIMIT_MB, MEMORY_LIMIT_ALL_MB = 60, 10, 450, 1_000
CORE = ("order-", "payment-", "inventory-", "nats")
"""How the names of the programs begin that the memory bar counts."""
LAYOUT = (
    "port",
    "envoy_stats_port",
    "nats_",
    "postgres_port",
    "prometheus_port",
    "alertmanager_port",
    "replica_port_",
    "slots_",
)
"""How the names of the settings begin that say which ports are used."""


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        clone = Path(directory) / "holdfast"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        settings = _toml(settings_for(Path(directory) / "unused"))
        (clone / "holdfast.toml").write_text(settings)
        try:
            os.environ |= {"UV_CACHE_DIR": f"{directory}/uv", "PIP_NO_CACHE_DIR": "1"}
            cold = _timed(clone, "up")
            _make(clone, "load", "RATE=20", "SECONDS=10")
            memory, shared = _memory(clone)
            _make(clone, "down")
            warm = _timed(clone, "up")
        finally:
            _make(clone, "down")
    _row("make up, fresh clone, packages fetched", cold, COLD_LIMIT_SECONDS, "s")
    _row("make up, packages there", warm, WARM_LIMIT_SECONDS, "s")
    core = sum(megabytes for program, megabytes in memory.items() if program.startswith(CORE))
    _row("services and NATS, resident, after a load", core, MEMORY_LIMIT_MB, "MB")
    sys.stdout.write(f"{'Envoy, resident':<45} {memory.get('envoy', 0.0):7.1f} MB\n")
    sys.stdout.write(f"{'all of it, resident: shared pages in each':<45} {sum(memory.values()):7.1f} MB\n")
    _row("all of it, shared pages once (PSS)", sum(shared.values()), MEMORY_LIMIT_ALL_MB, "MB")


def _toml(settings: LocalSettings) -> str:
    lines = [f"{name} = {value}" for name, value in settings.model_dump().items() if name.startswith(LAYOUT)]
    return "\n".join(lines) + "\n"


def _make(clone: Path, *arguments: str) -> str:
    words = ["make", "STACK=local", *arguments]
    done = subprocess.run(words, cwd=clone, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"make {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _timed(clone: Path, target: str) -> float:
    began = time.monotonic()
    _make(clone, target)
    return time.monotonic() - began


def _memory(clone: Path) -> tuple[dict[str, float], dict[str, float]]:
    """Megabytes by program: resident, and with each shared page divided among those that share it."""
    python = clone / ".venv/bin/python"
    status = subprocess.run(
        [python, "-m", "infra.local", "status", "--json"], cwd=clone, capture_output=True, text=True, check=True
    )
    rows = [row for row in json.loads(status.stdout) if row["pid"]]
    families = {row["name"]: processes.family(row["pid"]) for row in rows}
    shared = {name: sum(psutil.Process(pid).memory_full_info().pss for pid in pids) for name, pids in families.items()}
    return {row["name"]: row["resident"] / 1e6 for row in rows}, {name: each / 1e6 for name, each in shared.items()}


def _row(what: str, value: float, limit: float, unit: str) -> None:
    verdict = "" if value <= limit else "  MISSED"
    sys.stdout.write(f"{what:<45} {value:7.1f} {unit:<2}   bar {limit} {unit}{verdict}\n")


if __name__ == "__main__":
    main()
