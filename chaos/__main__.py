"""The command line of experiments: `python -m chaos run payment-down`, `gameday`, `bounds`, `stop`."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from chaos import definition, targets
from chaos.compare import switches
from chaos.definition import BadExperiment
from chaos.runner import plan
from chaos.runner.one import alone, stop_running
from chaos.targets.target import TargetError

EX_CONFIG, UNAVAILABLE, INTERRUPTED = 78, 2, 130
_LONGEST_SECONDS = 1800


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 passes, 1 fails, 3 was aborted, 4 says nothing, 2 and 78 did not begin."""
    chosen = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = chosen.command
    try:
        return command(chosen)
    except BadExperiment as error:
        sys.stderr.write(f"{error}\n")
        return EX_CONFIG
    except TargetError as error:
        sys.stderr.write(f"{error}\n")
        return UNAVAILABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def show(chosen: argparse.Namespace) -> int:
    """List the scenarios; with a target those that run there, and of the others why not."""
    place = targets.place(getattr(chosen, "target", None))
    width = max(len(name) for name in definition.names())
    elsewhere = []
    for name in definition.names():
        experiment = definition.load(name)
        reasons = {str(where): why for where, why in definition.of(experiment).not_on.items()}
        if place in reasons:
            elsewhere.append(f"{name:{width}}  {reasons[place]}")
        else:
            sys.stdout.write(f"{name:{width}}  {experiment['title']}\n")
    if elsewhere:
        sys.stdout.write(f"\nNot on {place}:\n" + "".join(f"{line}\n" for line in elsewhere))
    sys.stdout.write("\nmake chaos SCENARIO=NAME, make gameday, make chaos-stop. What each teaches: docs/chaos.md\n")
    return 0


def run(chosen: argparse.Namespace) -> int:
    """Run one scenario to its verdict."""
    # Chaos Toolkit's packages are only needed from here on.
    from chaoslib.log import configure_logger

    from chaos.runner.run import Choices
    from chaos.runner.run import run as run_scenario

    configure_logger(verbose=chosen.verbose)
    target = targets.chosen(chosen.target)
    choices = Choices(chosen.seed, chosen.fault_seconds, chosen.warm_up_seconds, chosen.orders_per_second)
    with alone(target, chosen.scenario):
        verdict, directory = run_scenario(chosen.scenario, target, choices, folder=chosen.folder)
    sys.stdout.write(f"{verdict.label}  {chosen.scenario}: {verdict.reason}\n{directory / 'report.html'}\n")
    return verdict.label.exit_code


def compare(chosen: argparse.Namespace) -> int:
    """Show what each pattern is worth: the same load and fault with more and more of them on."""
    from rich.console import Console

    from chaos.compare import climb, ladder, page, table

    rungs = ladder.load().chosen(chosen.rungs)
    target = targets.chosen(chosen.target)
    phases = climb.Phases(chosen.warm_up_seconds or 3.0, chosen.fault_seconds or 12.0)
    asked = climb.Chosen(chosen.scenario, chosen.seed, chosen.orders_per_second or 12.0, phases)
    directory = target.runs / f"compare-{chosen.scenario}-{time.strftime('%Y%m%d-%H%M%S')}"
    console = Console(width=None if sys.stdout.isatty() else 160)
    began = time.monotonic()
    with alone(target, f"compare {chosen.scenario}"):
        directory.mkdir(parents=True, exist_ok=True)
        rows = climb.climb(rungs, target, asked, directory, tell=lambda name: console.print(f"... {name}"))
    title = f"What is a pattern worth? {chosen.scenario}"
    facts = {
        "scenario": chosen.scenario, "seed": asked.seed, "orders_per_second": asked.orders_per_second,
        "fault_seconds": phases.fault, "took_seconds": round(time.monotonic() - began),
    }  # fmt: skip
    page.write(directory, title, facts, rows)
    table.show(rows, console)
    sys.stdout.write(f"{directory / 'compare.html'}\n")
    return 0 if all(row.good for row in rows) else 1


def gameday(chosen: argparse.Namespace) -> int:
    """Run several scenarios, one after the other, each in a process of its own; the worst of their exit codes."""
    scenarios = chosen.scenarios or plan.GAMEDAY
    here = targets.place(chosen.target)
    reasons = {scenario: definition.why_not(scenario, here) for scenario in scenarios}
    worst, lines = 0, []
    for scenario in scenarios:
        if reason := reasons[scenario]:
            sys.stdout.write(f"{'-':>5}    not on {here}  {scenario}: {reason}\n")
            continue
        began = time.monotonic()
        words = [sys.executable, "-m", "chaos", "run", scenario, "--seed", str(chosen.seed)]
        words += ["--target", here]
        words += ["--fault-seconds", f"{chosen.fault_seconds:g}"] if chosen.fault_seconds else []
        done = subprocess.run(  # noqa: S603 - ourselves
            words, stdout=subprocess.PIPE, text=True, timeout=_LONGEST_SECONDS, check=False
        )
        said = done.stdout.strip().splitlines()
        lines.append(f"{time.monotonic() - began:5.0f} s  {said[0] if said else f'did not begin  {scenario}'}")
        sys.stdout.write(lines[-1] + "\n")
        sys.stdout.flush()
        worst = max(worst, done.returncode)
    return worst


def bounds(chosen: argparse.Namespace) -> int:
    """Show how far what runs have measured is from each bound of their experiments, the narrowest first."""
    from rich.console import Console

    from chaos import bounds as measured

    rows = measured.read(chosen.directory)
    measured.show(rows, Console(width=None if sys.stdout.isatty() else 160))
    return 0 if rows else UNAVAILABLE


def schedule(chosen: argparse.Namespace) -> int:
    """Run each weekday's experiments at a time of day, until interrupted; `--day` runs one day's at once."""
    planned = plan.load(chosen.plan)
    if chosen.day:
        return gameday(_with(chosen, planned[chosen.day]))
    while True:
        now = datetime.now().astimezone()
        at, day = plan.upcoming(now, chosen.at, planned)
        sys.stdout.write(f"{at:%A %d %B %H:%M}: {', '.join(planned[day])}\n")
        sys.stdout.flush()
        # In short sleeps: a machine that was asleep, or a clock that was set, must not shift the plan.
        while (left := (at - datetime.now().astimezone()).total_seconds()) > 0:
            time.sleep(min(30.0, left))
        gameday(_with(chosen, planned[day]))


def stop(chosen: argparse.Namespace) -> int:
    """End the experiment that is under way, and every fault everywhere."""
    target = targets.chosen(chosen.target)
    stopped = stop_running(target)
    restored = switches.restore(target)
    target.clear()
    left = target.faults()
    sys.stdout.write(f"{stopped} was stopped. " if stopped else "")
    sys.stdout.write(f"{restored[0].upper()}{restored[1:]}. " if restored else "")
    sys.stdout.write("No fault acts any more.\n" if not left else f"Still there: {'; '.join(left)}\n")
    return 1 if left else 0


def _with(chosen: argparse.Namespace, scenarios: list[str]) -> argparse.Namespace:
    return argparse.Namespace(**(vars(chosen) | {"scenarios": scenarios}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.set_defaults(command=show)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, does: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=(does.__doc__ or "").splitlines()[0], description=does.__doc__)
        added.set_defaults(command=does)
        added.add_argument("--target", choices=targets.PLACES, help="where; default $CHAOS_TARGET, then what runs")
        return added

    def choices(added: argparse.ArgumentParser) -> None:
        added.add_argument("--seed", type=int, default=1, help="of the orders, and of whom to kill")
        added.add_argument("--fault-seconds", type=_seconds, help="default: the experiment's own")

    command("list", show)
    runner = command("run", run)
    runner.add_argument("scenario")
    choices(runner)
    runner.add_argument("--warm-up-seconds", type=_seconds, help="load before the fault; default: the experiment's own")
    runner.add_argument("--orders-per-second", type=_rate, help="the load; default: the experiment's own")
    runner.add_argument("--folder", type=Path, default=definition.EXPERIMENTS, help="where experiments are")
    runner.add_argument("--verbose", action="store_true")
    comparison = command("compare", compare)
    comparison.add_argument("scenario", help="payment-latency, payment-down, payment-errors, ...")
    comparison.add_argument("rungs", nargs="*", help="default: all of chaos/compare/ladder.yaml")
    choices(comparison)
    comparison.add_argument("--warm-up-seconds", type=_seconds, help="load before each fault; default: 3")
    comparison.add_argument("--orders-per-second", type=_rate, help="the load; default: 12")
    several = command("gameday", gameday)
    several.add_argument("scenarios", nargs="*", help=f"default: {', '.join(plan.GAMEDAY)}")
    choices(several)
    planned = command("schedule", schedule)
    planned.add_argument("--plan", type=Path, default=plan.PLAN, help="weekday: scenarios, as YAML")
    planned.add_argument("--at", type=plan.time_of_day, default=plan.time_of_day("10:00"), help="HH:MM, local time")
    planned.add_argument("--day", choices=plan.WEEKDAYS, help="run that day's experiments now")
    choices(planned)
    told = command("bounds", bounds)
    told.add_argument("directory", type=Path, nargs="?", default=Path(".local/chaos"), help="where runs are")
    command("stop", stop)
    return parser


def _rate(text: str) -> float:
    value = float(text)
    if not 0.1 <= value <= 200:
        raise argparse.ArgumentTypeError("from 0.1 to 200 a second")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 500:
        raise argparse.ArgumentTypeError("from 1 to 500 seconds")
    return value


if __name__ == "__main__":
    sys.exit(main())
