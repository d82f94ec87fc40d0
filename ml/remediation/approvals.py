"""Questions to a person, and their answers. A question that nobody answers is withdrawn."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ml.remediation.limits import Action

_MOST_REMEMBERED = 200


class Answer(StrEnum):
    """Where a question stands."""

    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"


class NoSuchQuestion(Exception):
    """There is none with that id."""


class TooLate(Exception):
    """It has been answered or withdrawn already."""


@dataclass(slots=True)
class Question:
    """May this be done? `id` is that of the audit record; times in seconds of the clock."""

    id: str
    action: Action
    alarm: str
    cause: str
    prediction: Mapping[str, Any] | None
    asked: float
    expires: float
    answer: Answer = Answer.WAITING
    by: str = ""
    handed_out: bool = False


class Approvals:
    """The questions of one process: after a restart they are gone, and asked anew if there is still a reason."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._questions: OrderedDict[str, Question] = OrderedDict()

    def ask(self, question: Question) -> None:
        """Put one; the oldest that are over are forgotten."""
        self._questions[question.id] = question
        over = [each.id for each in self._questions.values() if each.handed_out]
        for old in over[: max(0, len(self._questions) - _MOST_REMEMBERED)]:
            del self._questions[old]

    def answer(self, question_id: str, *, yes: bool, by: str) -> Question:
        """A person's word.

        Raises:
            NoSuchQuestion, TooLate
        """
        found = self._questions.get(question_id)
        if found is None:
            raise NoSuchQuestion(question_id)
        if found.answer is not Answer.WAITING or self._clock() >= found.expires:
            raise TooLate(found.answer if found.answer is not Answer.WAITING else Answer.EXPIRED)
        found.answer, found.by = (Answer.APPROVED if yes else Answer.DENIED), by
        return found

    def settled(self) -> list[Question]:
        """Those that have been answered or have expired since the last call; each is handed out once."""
        now = self._clock()
        for question in self._questions.values():
            if question.answer is Answer.WAITING and now >= question.expires:
                question.answer = Answer.EXPIRED
        out = [each for each in self._questions.values() if each.answer is not Answer.WAITING and not each.handed_out]
        for question in out:
            question.handed_out = True
        return out

    def waiting(self) -> frozenset[str]:
        """Services with a question whose answer has not been handed out yet."""
        return frozenset(each.action.service for each in self._questions.values() if not each.handed_out)

    def all(self) -> list[Question]:
        """All that are remembered, the newest first."""
        return list(reversed(self._questions.values()))
