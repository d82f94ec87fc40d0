"""The data card: what is in a directory of recordings, counted from it. `python -m ml.cards.data` prints it."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from string import Template

import numpy as np

from ml.datasets.recording import Series, load
from ml.datasets.rows import rows
from ml.evaluation.alarms import DAY_MINUTES
from ml.features.signals import OWN, SERVICES
from ml.training.__main__ import RECORDED

CARD = "README.md"
_TEMPLATE = Path(__file__).with_name("data.md")


def card(directory: Path, listed: Sequence[Series]) -> str:
    """The card as Markdown."""
    table = rows(listed)
    minutes = sum(len(series) for series in listed)
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        files=len(list(directory.glob("*.parquet"))),
        megabytes=f"{sum(path.stat().st_size for path in directory.glob('*.parquet')) / 1e6:.1f}",
        runs=len({series.run for series in listed}),
        minutes=f"{minutes:,}",
        days=f"{minutes / DAY_MINUTES:.1f}",
        rows=f"{len(table):,}",
        base_rate=f"{100 * table.base_rate:.1f}",
        breaches=sum(len(series.breaches) for series in listed),
        services=_services(listed),
        kinds=_kinds(listed),
        signals=_signals(listed),
        signal_count=len(OWN),
    )


def _services(listed: Sequence[Series]) -> str:
    lines = ["| service | minutes | breaches | minutes in one |", "|---|---|---|---|"]
    for service in SERVICES:
        own = [series for series in listed if series.service == service]
        inside = sum(breach.end - breach.start for series in own for breach in series.breaches)
        count = sum(len(series.breaches) for series in own)
        lines.append(f"| {service} | {sum(map(len, own)):,} | {count} | {inside:,} |")
    return "\n".join(lines)


def _kinds(listed: Sequence[Series]) -> str:
    counts = Counter(kind for series in listed for kind in series.kinds)
    lines = ["| how it comes | fault in force | breaches |", "|---|---|---|"]
    lines += [f"| {onset} | {kind} | {count} |" for (kind, onset), count in sorted(counts.items(), key=_by_onset)]
    return "\n".join(lines)


def _by_onset(item: tuple[tuple[str, str], int]) -> tuple[str, int, str]:
    (kind, onset), count = item
    return onset, -count, kind


def _signals(listed: Sequence[Series]) -> str:
    whole = np.concatenate([series.signals for series in listed])
    lines = ["| signal | known | 5 % | median | 95 % |", "|---|---|---|---|---|"]
    for index, name in enumerate(OWN):
        column = whole[:, index]
        known = column[~np.isnan(column)]
        numbers = " | ".join(f"{each:.3g}" for each in np.quantile(known, [0.05, 0.5, 0.95])) if len(known) else "| |"
        lines.append(f"| {name} | {100 * len(known) / len(column):.0f} % | {numbers} |")
    return "\n".join(lines)


def main() -> int:
    """Write the card beside the data, and print its path."""
    parser = argparse.ArgumentParser(prog="python -m ml.cards.data", description=__doc__)
    parser.add_argument("--data", type=Path, default=RECORDED)
    directory = parser.parse_args().data
    path = directory / CARD
    path.write_text(card(directory, load(directory)), encoding="utf-8")
    sys.stdout.write(f"{path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
