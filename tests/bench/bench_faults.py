"""What customers get while things are broken: ours beside the tutorial's stack, under the same faults and load.

    python -m tests.bench.bench_faults [--seconds 12] [--rate 15]

Orders come at a fixed rate, whether they are answered or not. Goodput is the share of them that was taken (201 or 202);
p99 is over all orders, one without an answer counting as long as the customer waited (15 s). Amplification is how many
charges payment was asked for, for each order. For the overload the stack's own capacity is measured first; then orders
come at three times that, and after it at half of it: how long until 95 % of each second's orders are taken within 1 s?
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from infra.local.stack import LocalStack
from tests.bench import struck
from tests.bench.figures import percentile
from tests.bench.load import NO_ANSWER, Sample, closed_loop, open_loop, run
from tests.bench.peers.stack import TutorialStack
from tests.bench.sides import Side, our_side, tutorial_side, workplace
from tests.bench.tables import Bar, Page

PATIENCE_SECONDS = 15.0
OVERLOAD, OVERLOAD_SECONDS, AFTER_SECONDS = 3.0, 6.0, 14.0
GOOD_SHARE, GOOD_SECONDS = 0.95, 1.0
FAULTS: dict[str, struck.Fault] = {
    "payment takes 2 s": struck.all_slow,
    "half of all charges fail": struck.half_fail,
    "payment down": struck.down,
    "one of two replicas takes 3 s": struck.one_gray,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one fault: the share of orders taken, seconds at the 99th percentile, charges asked for an order."""

    goodput: float
    p99: float
    amplification: float


def taken(samples: Sequence[Sample]) -> list[Sample]:
    """The orders that were answered 201 or 202."""
    return [sample for sample in samples if sample.status in (201, 202)]


def waited(samples: Sequence[Sample]) -> list[float]:
    """Seconds that each customer waited; whoever got no answer waited all of the patience."""
    return [PATIENCE_SECONDS if sample.status == NO_ANSWER else sample.seconds for sample in samples]


def recovered_after(samples: Sequence[Sample], end: float, last: float) -> float:
    """Seconds from `end` until every further second up to `last` was good; inf when the last one was not."""
    since = end
    for second in range(int(end), int(last)):
        window = [sample for sample in samples if second <= sample.at < second + 1]
        good = sum(sample.seconds <= GOOD_SECONDS for sample in taken(window))
        if window and good < GOOD_SHARE * len(window):
            since = second + 1.0
    return float("inf") if since >= int(last) else since - end


def under_fault(side: Side, faults: struck.Struck, begin: struck.Fault, rate: float, seconds: float) -> Outcome:
    """Break it, load it, mend it."""
    begin(faults)
    is_away = begin is struck.down
    try:
        before = 0 if is_away else faults.charges()
        samples = run(open_loop(side.url, lambda _: rate, seconds, patience=PATIENCE_SECONDS))
        asked = 0 if is_away else faults.charges() - before
    finally:
        if is_away:
            faults.give_back()
        else:
            faults.mend()
    return Outcome(len(taken(samples)) / len(samples), percentile(waited(samples), 99), asked / len(samples))


def overload(side: Side) -> tuple[float, float, float, float]:
    """Capacity, the pace of good orders during the overload, their share after it, and seconds to recover."""
    capacity = len(taken(run(closed_loop(side.url, 16, 4.0)))) / 4.0
    wholly = OVERLOAD_SECONDS + AFTER_SECONDS

    def rate(at: float) -> float:
        return max(1.0, capacity * (OVERLOAD if at < OVERLOAD_SECONDS else 0.5))

    samples = run(open_loop(side.url, rate, wholly, patience=PATIENCE_SECONDS))
    good = [s for s in taken(samples) if s.at < OVERLOAD_SECONDS and s.seconds <= GOOD_SECONDS]
    later = [s for s in samples if s.at >= OVERLOAD_SECONDS]
    after = len([s for s in taken(later) if s.seconds <= GOOD_SECONDS]) / max(1, len(later))
    return capacity, len(good) / OVERLOAD_SECONDS, after, recovered_after(samples, OVERLOAD_SECONDS, wholly)


def bench(page: Page, *, rate: float = 15.0, seconds: float = 12.0) -> None:
    """Both stacks through every fault, in turn."""
    with workplace() as directory, ExitStack() as running:
        ours = running.enter_context(our_side("ours", directory, replicas_payment=2, replicas_payment_v2=0))
        tutorial = running.enter_context(tutorial_side(directory))
        assert isinstance(ours.stack, LocalStack)
        assert isinstance(tutorial.stack, TutorialStack)
        tutorial.stack.start("payment-2")
        sides: list[tuple[Side, struck.Struck]] = [
            (ours, struck.Ours(ours.stack)),
            (tutorial, struck.Tutorial(tutorial.stack)),
        ]
        for side, _ in sides:
            run(closed_loop(side.url, 8, 2.0))
        outcomes = {}
        for name, begin in FAULTS.items():
            outcomes[name] = [under_fault(side, faults, begin, rate, seconds) for side, faults in sides]
        time.sleep(10)  # breakers of both have closed, what was queued is settled
        overloads = [overload(side) for side, _ in sides]
    report(page, rate, outcomes, overloads)


def report(
    page: Page,
    rate: float,
    outcomes: dict[str, list[Outcome]],
    overloads: Sequence[tuple[float, float, float, float]],
) -> None:
    """Two tables, and the bars."""
    page.heading("Under faults")
    page.line(f"{rate:g} orders/s, ours / tutorial; SQLite, two replicas of payment each, ours behind Envoy.")
    rows = []
    for name, (ours, tutorial) in outcomes.items():
        goodput = f"{ours.goodput:.1%} / {tutorial.goodput:.1%}"
        amplification = f"{ours.amplification:.2f} / {tutorial.amplification:.2f}" if name != "payment down" else ""
        rows.append([name, goodput, f"{ours.p99:.2f} / {tutorial.p99:.2f}", amplification])
    page.table(["", "orders taken", "p99 s", "charges asked an order"], rows)
    away, errors = outcomes["payment down"][0], outcomes["half of all charges fail"][0]
    page.bar(Bar("valid orders taken, payment down", away.goodput * 100, least=95, unit="%"))
    page.bar(Bar("p99, payment down", away.p99, most=1.0, unit="s"))
    page.bar(Bar("charges asked an order, half of them failing", errors.amplification, most=1.2))
    page.line(
        f"Overload: {OVERLOAD:g} times the stack's own capacity for {OVERLOAD_SECONDS:g} s, half of it for"
        f" {AFTER_SECONDS:g} s. Good: taken within {GOOD_SECONDS:g} s."
    )
    rows = [
        [
            name,
            f"{capacity:.0f}",
            f"{during:.0f}",
            f"{after:.1%}",
            "not in this run" if away == float("inf") else f"{away:.0f}",
        ]
        for name, (capacity, during, after, away) in zip(("ours", "tutorial"), overloads, strict=True)
    ]
    page.table(["", "capacity/s", "good/s in the overload", "good after it", "all good after s"], rows)
    page.bar(Bar("full goodput after an overload", overloads[0][3], most=10, unit="s"))


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=12.0)
    arguments.add_argument("--rate", type=float, default=15.0)
    wanted = arguments.parse_args()
    page = Page()
    bench(page, rate=wanted.rate, seconds=wanted.seconds)
    sys.stdout.write(page.text())
    return 0 if page.all_met() else 1


if __name__ == "__main__":
    sys.exit(main())
