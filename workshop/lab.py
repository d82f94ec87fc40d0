"""What a lab is, and what is remembered of one that has begun."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from workshop.platform import Counts, Platform, growth


class NotYet(Exception):
    """A lab is not done. `missing` is one sentence, with the figure; `look` says where to go on."""

    def __init__(self, missing: str, look: str) -> None:
        super().__init__(missing)
        self.missing, self.look = missing, look


@dataclass(slots=True)
class Note:
    """What is known of a lab that was begun.

    began:  Unix seconds; nothing from before that counts
    counts: what the lab's counters read then
    hints:  how many were given
    done:   when the check passed first; None until then
    """

    lab: int
    began: float
    counts: Counts = field(default_factory=dict)
    hints: int = 0
    done: float | None = None

    def grown(self, platform: Platform, service: str, counter: str, **labels: str) -> float:
        """How much a counter has grown since the lab began, over all replicas, restarted ones included."""
        return growth(self.counts, platform.counts(service, counter), counter, labels)

    def write(self, directory: Path) -> None:
        """Keep it for the next command."""
        directory.mkdir(parents=True, exist_ok=True)
        _file(directory, self.lab).write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")


def noted(directory: Path, lab: int) -> Note | None:
    """What was kept of a lab; None when it was never begun."""
    file = _file(directory, lab)
    return Note(**json.loads(file.read_text(encoding="utf-8"))) if file.exists() else None


@dataclass(frozen=True, slots=True)
class Lab:
    """One lab.

    page:     the file in docs/workshop
    scene:    said to the learner when it has begun
    counters: (service, counter) whose growth the check may ask for
    begin:    puts in what the learner is to find; everything is as `make up` leaves it before
    check:    returns what was seen, in a sentence; raises `NotYet`. Its second argument is the learner's answer
    see:      does what the page asks for up to where the harm is seen, by the same means
    mend:     does the rest; returns the learner's answer
    """

    number: int
    title: str
    page: str
    minutes: int
    scene: str
    hints: tuple[str, ...]
    begin: Callable[[Platform], None]
    check: Callable[[Platform, Note, str], str]
    see: Callable[[Platform, Note], None]
    mend: Callable[[Platform, Note], str]
    counters: tuple[tuple[str, str], ...] = ()

    def not_yet(self, missing: str, heading: str) -> NotYet:
        """The error of a check, with a pointer into the lab's page."""
        return NotYet(missing, f"docs/workshop/{self.page}#{heading}")


def _file(directory: Path, lab: int) -> Path:
    return directory / f"lab-{lab}.json"
