"""The plots of a run, from its recording."""

from chaos.recording import percentile
from chaos.report import plots
from chaos.report.plots import Axis
from chaos.report.run import Run


def charts(run: Run) -> list[str]:
    """Answers a second, latencies, breakers, processes: each an SVG. What was not seen has none."""
    orders = list(run.recording.orders.values())
    if not orders:
        return []
    start = min(order.sent for order in orders)
    end = max(run.ended, start + 1)
    axis = Axis(start, end, run.recording.window(run.ended))
    drawn = [plots.bars(axis, _answers(run, axis), "Orders answered in each second, by status")]
    latencies = _latencies(run, axis)
    if latencies["p99"]:
        drawn.append(plots.lines(axis, latencies, "Latency in seconds, over the last 3 s"))
    breakers = {
        f"{name}/{instance.rpartition('-')[2]}": states
        for name in run.recording.breakers()
        for instance, states in sorted(run.recording.breaker_states(name).items())
    }
    if breakers:
        drawn.append(plots.strips(axis, breakers, "Breakers of the order service"))
    processes = {
        name: [(at, state) for at, state, _ in states]
        for name, states in sorted(run.recording.processes.items())
        if len(states) > 1
    }
    if processes:
        drawn.append(plots.strips(axis, processes, "Processes that changed"))
    return drawn


def _answers(run: Run, axis: Axis) -> list[dict[str, int]]:
    seconds: list[dict[str, int]] = [{} for _ in range(int(axis.end - axis.start) + 1)]
    for order in run.recording.orders.values():
        if order.ended is not None:
            at = min(max(int(order.ended - axis.start), 0), len(seconds) - 1)
            status = str(order.status or "none")
            seconds[at][status] = seconds[at].get(status, 0) + 1
    return seconds


def _latencies(run: Run, axis: Axis) -> dict[str, list[tuple[float, float]]]:
    ended = sorted((order.ended, order.seconds) for order in run.recording.orders.values() if order.ended is not None)
    named: dict[str, list[tuple[float, float]]] = {"p50": [], "p99": []}
    for second in range(1, int(axis.end - axis.start) + 1):
        at = axis.start + second
        last = [seconds for moment, seconds in ended if at - 3 < moment <= at]
        if last:
            named["p50"].append((at, percentile(last, 50)))
            named["p99"].append((at, percentile(last, 99)))
    return named
