"""Shows a load as it runs and what came of it."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from infra.load.tally import Tally

_MEANINGS = {
    (201, "confirmed"): "confirmed",
    (202, "pending-payment"): "accepted, payment follows",
    (202, "confirming"): "accepted, being confirmed",
    (402, "card-declined"): "card declined",
    (409, "insufficient-stock"): "not enough stock",
    (503, "overloaded"): "refused: too much load",
    (0, "not-reachable"): "nobody listens",
    (0, "no-answer-in-time"): "no answer in time",
    (0, "connection-lost"): "connection lost",
}


async def watch(tally: Tally, elapsed: Callable[[], float], seconds: float, console: Console) -> None:
    """Show progress until cancelled: in place on a terminal, else one plain line every five seconds."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(5)
            console.print(_line(tally, elapsed(), seconds))
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(table(tally.summary(elapsed()), _line(tally, elapsed(), seconds)), refresh=True)
            await asyncio.sleep(0.25)


def table(summary: dict[str, Any], title: str) -> Table:
    """Outcomes with their counts and latencies."""
    shown = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    shown.add_column("status")
    shown.add_column("meaning")
    for heading in ("orders", "share", "p50 ms", "p90 ms", "p99 ms"):
        shown.add_column(heading, justify="right")
    total = sum(outcome["count"] for outcome in summary["outcomes"])
    last = None
    for outcome in summary["outcomes"]:
        status, meaning, count = outcome["status"], outcome["meaning"], outcome["count"]
        # Latencies are kept by status; under a status's first line they stand for all of it.
        latency = summary["latency_ms"][str(status)] if status != last else {}
        last = status
        shown.add_row(
            str(status or "none"),
            _MEANINGS.get((status, meaning), meaning),
            str(count),
            f"{100 * count / total:.1f} %",
            *(f"{latency[name]:.0f}" if latency else "" for name in ("p50", "p90", "p99")),
        )
    return shown


def closing(summary: dict[str, Any]) -> list[str]:
    """What to know beside the table."""
    latency = summary["latency_ms"]["all"]
    whole = (
        f"{summary['orders']} orders in {summary['elapsed_seconds']:.0f} s ({summary['orders_per_second']:.1f}/s), "
        f"{summary['attempts']} attempts; p50 {latency['p50']:.0f} ms, p90 {latency['p90']:.0f} ms, "
        f"p99 {latency['p99']:.0f} ms, longest {latency['max']:.0f} ms (from arrival, retries included)"
    )
    lines = [whole]
    if summary["not_sent"]:
        lines.append(f"{summary['not_sent']} orders were not sent: too many were under way (--in-flight)")
    if summary["unfinished"]:
        lines.append(f"{summary['unfinished']} orders had no answer yet when it stopped")
    return lines


def plain_console() -> Console:
    """Progress and summary go to standard error: standard output stays free for programs."""
    return Console(file=sys.stderr, highlight=False)


def _line(tally: Tally, elapsed: float, seconds: float) -> str:
    return (
        f"{min(elapsed, seconds):.0f}/{seconds:.0f} s: {tally.started} orders sent, {tally.done} ended, "
        f"{tally.in_flight} under way, p99 {tally.all.percentile(0.99) * 1000:.0f} ms"
    )
