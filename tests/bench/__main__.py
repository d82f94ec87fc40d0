"""Every bench in one run, and `docs/benchmarks.md` from it: `python -m tests.bench [--only throughput faults ...]`.

Run it by `make bench`, on a machine that has nothing else to do. It takes at most fifteen minutes on two cores. With
`--only`, or `--print`, nothing is written.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench import bench_faults, bench_growth, bench_profile, bench_start, bench_throughput
from tests.bench.tables import Page

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BUDGET_MINUTES = 15.0

_SECTIONS: Mapping[str, Callable[[Page], None]] = {
    "throughput": lambda page: bench_throughput.bench(page, "sqlite", rounds=4, seconds=3.0),
    "postgres": lambda page: bench_throughput.bench(page, "postgres", rounds=4, seconds=3.0),
    "profile": lambda page: bench_profile.bench(page, "sqlite"),
    "profile-postgres": lambda page: bench_profile.bench(page, "postgres"),
    "faults": bench_faults.bench,
    "growth": bench_growth.bench,
    "start": bench_start.bench,
}


def machine() -> list[list[str]]:
    """What the figures hold for."""
    commit = _git("rev-parse", "--short=12", "HEAD") + (" and changes" if _git("status", "--porcelain") else "")
    rows = {
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{psutil.virtual_memory().total / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "commit": commit,
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "load before": f"{os.getloadavg()[0]:.1f}",
    }
    return [[name, value] for name, value in rows.items()]


def document(about: list[list[str]], page: Page, minutes: float, failures: Mapping[str, str]) -> str:
    """The whole file: the machine, the promises, then each section."""
    head = Page()
    head.parts.append("# Benchmarks")
    head.line(
        "Written by `make bench`, in one run, which ends with 1 when a bar is missed. The stacks that are compared run"
        " beside each other and are loaded in turn, in short slices; a ratio is the median over the rounds, and in"
        " brackets is the half of the rounds around it. The peer is the same platform as most tutorials write it:"
        " [its choices](../tests/bench/peers/tutorial/__init__.py). The bare path is our code without resilience and"
        " telemetry: [what that means](../tests/bench/bare.py)."
    )
    head.table(["", ""], [*about, ["took", f"{minutes:.1f} min"]])
    head.heading("Bars")
    if page.bars:
        head.table(["", "figure", "bar", ""], [bar.row() for bar in page.bars])
    for name, reason in failures.items():
        head.line(f"**{name} gave no figures: {reason}**")
    return head.text() + "\n" + page.text()


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--only", nargs="+", choices=_SECTIONS)
    arguments.add_argument("--print", action="store_true", help="write to the terminal instead of the document")
    wanted = arguments.parse_args()
    page, about, began = Page(), machine(), time.monotonic()
    failures: dict[str, str] = {}
    for name in wanted.only or _SECTIONS:
        _say(f"{name} ...")
        known = len(page.bars)
        try:
            _SECTIONS[name](page)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - what the other sections found is not to be lost
            failures[name] = f"{type(error).__name__}: {error}"
            _say(f"{name}: {failures[name]}")
        for bar in page.bars[known:]:
            what, figure, bound, verdict = bar.row()
            _say(f"  {verdict}: {what}: {figure}; bar {bound}")
        _say(f"{name}: {(time.monotonic() - began) / 60:.1f} min since the beginning")
    minutes = (time.monotonic() - began) / 60
    text = document(about, page, minutes, failures)
    if wanted.only or wanted.print:
        sys.stdout.write(text)
    else:
        DOCUMENT.write_text(text, encoding="utf-8")
        _say(f"{DOCUMENT.relative_to(ROOT)}, {sum(bar.met for bar in page.bars)} of {len(page.bars)} bars met")
    return 0 if page.all_met() and not failures and minutes <= BUDGET_MINUTES else 1


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
