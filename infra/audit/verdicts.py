"""What a check found."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from infra.audit.records import Evidence


@dataclass(frozen=True, slots=True)
class Breach:
    """Who breaks an invariant (an order, a payment key, a sku), and how."""

    subject: str
    detail: str


@dataclass(frozen=True, slots=True)
class Found:
    """How many things were looked at, and which of them are wrong."""

    examined: int
    breaches: list[Breach]


def found(examined: int, breaches: Iterable[Breach]) -> Found:
    """The result of a check."""
    return Found(examined, list(breaches))


@dataclass(frozen=True, slots=True)
class Invariant:
    """What must hold at all times, and how to see whether it does."""

    name: str
    statement: str
    check: Callable[[Evidence], Found]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One invariant's outcome."""

    invariant: Invariant
    found: Found

    @property
    def holds(self) -> bool:
        """Nothing was found that breaks it."""
        return not self.found.breaches


def judge(invariants: Iterable[Invariant], evidence: Evidence) -> Iterator[Verdict]:
    """Every invariant in turn."""
    for invariant in invariants:
        yield Verdict(invariant, invariant.check(evidence))
