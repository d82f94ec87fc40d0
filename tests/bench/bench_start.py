"""How long `make up` takes from nothing and when all is there, and how much memory the platform has then.

Run it by `make bench-start`. It clones the committed tree, so that nothing of this one helps, and uses free ports.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from infra.local import owner, processes
from infra.local.harness import settings_for
from infra.local.settings import LocalSettings
from infra.local.state import StateDirectory
from tests.bench.tables import Bar, Page

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


def bench(page: Page) -> None:
    """Start a clone twice, with a load in between, and write the section."""
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
        image = _megabytes(clone / ".venv")
    page.heading("Start and size")
    page.bar(Bar("make up, fresh clone, packages fetched", cold, most=COLD_LIMIT_SECONDS, unit="s"))
    page.bar(Bar("make up, packages there", warm, most=WARM_LIMIT_SECONDS, unit="s"))
    page.line("Resident memory after a load of 20 orders/s:")
    page.table(["", "MB"], [[name, f"{megabytes:.0f}"] for name, megabytes in memory.items() if megabytes])
    core = sum(megabytes for program, megabytes in memory.items() if program.startswith(CORE))
    page.bar(Bar("services and NATS, resident", core, most=MEMORY_LIMIT_MB, unit="MB"))
    page.line(f"All of it, resident, shared pages counted in each process: {sum(memory.values()):.0f} MB.")
    page.bar(Bar("all of it, shared pages once (PSS)", sum(shared.values()), most=MEMORY_LIMIT_ALL_MB, unit="MB"))
    page.line(f"Installed packages: {image:.0f} MB, tools of the stack (Envoy, NATS) with them. {_images()}")


def main() -> int:
    page = Page()
    bench(page)
    sys.stdout.write(page.text())
    return 0 if page.all_met() else 1


def _megabytes(directory: Path) -> float:
    return sum(file.lstat().st_size for file in directory.rglob("*") if file.is_file()) / 1e6


def _images() -> str:
    """The sizes of the images that are there, by an engine that answers."""
    for engine in ("docker", "podman"):
        if shutil.which(engine) is None:
            continue
        words = [engine, "images", "--format", "{{.Repository}} {{.Size}}", "--filter", "reference=*holdfast/*"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
        if done.returncode == 0 and done.stdout.strip():
            return "Images: " + ", ".join(done.stdout.strip().splitlines()) + "."
    return "Images: none on this machine (no container engine, or none built)."


def _toml(settings: LocalSettings) -> str:
    lines = [f"{name} = {value}" for name, value in settings.model_dump().items() if name.startswith(LAYOUT)]
    return "\n".join(lines) + "\n"


def _make(clone: Path, *arguments: str) -> str:
    words = ["make", "STACK=local", *arguments]
    done = subprocess.run(words, cwd=clone, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        raise SystemExit(f"make {' '.join(arguments)} failed:\n{done.stdout}{done.stderr}")
    if "up" in arguments:
        owner.watch(os.getpid(), StateDirectory(clone / ".local"))
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


if __name__ == "__main__":
    sys.exit(main())
