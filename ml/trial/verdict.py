"""Whether acting was worth it: each campaign with and without, the runs without a fault, and the bar for both."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from ml.trial.outcome import ACT, LEAVE, NOTHING, Outcome


@dataclass(frozen=True, slots=True)
class Campaign:
    """The same fault twice: left alone, and acted on."""

    left: Outcome
    acted: Outcome

    @property
    def warned_before(self) -> bool:
        """There was a warning before users saw anything, with and without acting."""
        return all(
            each.warned is not None and (each.begins is None or each.warned < each.begins)
            for each in (self.left, self.acted)
        )

    @property
    def better(self) -> bool:
        """The breach that came without acting did not come, or was shorter."""
        return self.acted.breach < self.left.breach

    @property
    def met(self) -> bool:
        """Warned of in time, acted on, and better for it."""
        return self.warned_before and bool(self.acted.done) and self.better

    def __str__(self) -> str:
        left, acted = self.left, self.acted
        return (
            f"campaign {left.pair}, {left.kind} of {left.service}: {_ahead(left)} left alone, {_ahead(acted)} acted on;"
            f" minutes in a breach: {left.breach} left alone, {acted.breach} acted on;"
            f" done: {', '.join(map(str, acted.done)) or 'nothing'}"
        )


def campaigns(outcomes: Sequence[Outcome]) -> list[Campaign]:
    """Those of which both arms have been played."""
    left, acted = ({each.pair: each for each in outcomes if each.arm == arm} for arm in (LEAVE, ACT))
    return [Campaign(left[pair], acted[pair]) for pair in sorted(left.keys() & acted.keys())]


def met(outcomes: Sequence[Outcome]) -> bool:
    """Each campaign was met, there was a run without a fault, and in none of them anything was done."""
    found, unharmed = campaigns(outcomes), [each for each in outcomes if each.arm == NOTHING]
    return bool(found and unharmed) and all(each.met for each in found) and not any(each.done for each in unharmed)


def table(outcomes: Sequence[Outcome]) -> str:
    """All episodes, each campaign in a sentence, both numbers, and in the last line whether the bar is met."""
    lines = ["pair arm       fault        service    warned  breach from  minutes in breach  done"]
    lines += [
        f"{each.pair:4d} {each.arm:9s} {each.kind:12s} {each.service:10s} {_minute(each.warned):>6s}"
        f" {_minute(each.begins):>12s} {each.breach:18d}  {', '.join(map(str, each.done)) or '-'}"
        for each in outcomes
    ]
    found = campaigns(outcomes)
    lines += [str(each) for each in found]
    if found:
        left, acted = ([getattr(each, arm).breach for each in found] for arm in ("left", "acted"))
        lines.append(
            f"minutes in a breach an episode, on average: {statistics.mean(left):.1f} left alone,"
            f" {statistics.mean(acted):.1f} acted on"
        )
    unharmed = [each for each in outcomes if each.arm == NOTHING]
    if unharmed:
        lines.append(f"without a fault: {sum(len(each.done) for each in unharmed)} actions")
    lines.append(f"the bar is {'met' if met(outcomes) else 'NOT met'}: {'; '.join(_against(outcomes))}")
    return "\n".join(lines)


def _against(outcomes: Sequence[Outcome]) -> list[str]:
    found = campaigns(outcomes)
    of = len(found)
    unharmed = [each for each in outcomes if each.arm == NOTHING]
    return [
        f"{sum(each.warned_before for each in found)} of {of} campaigns warned of before users saw them",
        f"{sum(bool(each.acted.done) for each in found)} of {of} acted on",
        f"{sum(each.better for each in found)} of {of} breaches avoided or shortened",
        f"{sum(not each.done for each in unharmed)} of {len(unharmed)} runs without a fault left alone",
    ]


def write(outcomes: Sequence[Outcome], path: Path) -> None:
    """The bar, the campaigns and the episodes as JSON; minutes of the trial's clock, from the start of the fault."""
    told: dict[str, Any] = {
        "bar_met": met(outcomes),
        "campaigns": [
            {
                "pair": each.left.pair, "kind": each.left.kind, "service": each.left.service, "met": each.met,
                "warned_before_users_saw_it": each.warned_before,
                "warned_ahead_minutes": {LEAVE: each.left.ahead, ACT: each.acted.ahead},
                "breach_minutes": {LEAVE: each.left.breach, ACT: each.acted.breach},
            }
            for each in campaigns(outcomes)
        ],
        "actions_without_a_fault": sum(len(each.done) for each in outcomes if each.arm == NOTHING),
        "episodes": [asdict(each) for each in outcomes],
    }  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(told, option=orjson.OPT_INDENT_2) + b"\n")


def _ahead(each: Outcome) -> str:
    if each.warned is None:
        return "not warned of"
    if each.ahead is None:
        return f"warned of at {each.warned:.0f} and no breach"
    if each.ahead < 0:
        return f"warned of {-each.ahead:.0f} minutes after users saw it"
    return f"warned of {each.ahead:.0f} minutes before users saw it"


def _minute(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
