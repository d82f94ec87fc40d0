"""Replicas for an experiment are given back, by the experiment or by who watches over it."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from chaos import loan, targets
from chaos.loan import Loan
from chaos.targets.target import TargetError
from tests.fixtures.waiting import until

BORROWS = """
import sys, time
from pathlib import Path
from chaos.loan import Loan
from tests.unit.chaos.test_loan import Place
folder = Path(sys.argv[1])
Loan(Place(payment=1), folder / "log", ["touch", str(folder / "given-back")]).take({"payment": 2})
(folder / "taken").touch()
time.sleep(60)
"""


class Place:
    """A platform that is only numbers; it refuses to scale as often as `refusals` says."""

    name = "numbers"

    def __init__(self, refusals: int = 0, **sizes: int) -> None:
        self.sizes, self.refusals, self.scaled = sizes, refusals, list[tuple[str, int]]()

    def size(self, service: str) -> int:
        return self.sizes[service]

    def scale(self, service: str, replicas: int) -> None:
        if self.refusals:
            self.refusals -= 1
            raise TargetError("'up' is at work on the stack")
        self.sizes[service] = replicas
        self.scaled.append((service, replicas))


def made(place: Place, folder: Path) -> Loan:
    lender: Any = place
    return Loan(lender, folder / "log", ["touch", str(folder / "given-back")])


def test_what_is_missing_is_taken_and_given_back_once(tmp_path: Path) -> None:
    place = Place(payment=1, inventory=2)
    lent = made(place, tmp_path)
    lent.take({"payment": 2, "inventory": 2})
    assert place.sizes == {"payment": 2, "inventory": 2}
    watchdog = lent._process
    lent.give_back()
    lent.give_back()
    assert place.scaled == [("payment", 2), ("payment", 1)]
    assert watchdog is not None
    assert watchdog.wait(10) == 0
    assert not (tmp_path / "given-back").exists()


def test_what_could_not_be_given_back_is_left_to_the_watchdog(tmp_path: Path) -> None:
    place = Place(payment=1)
    lent = made(place, tmp_path)
    lent.take({"payment": 2})
    place.refusals = 1
    lent.give_back()
    until((tmp_path / "given-back").exists)


def test_a_borrower_that_is_killed_gives_back(tmp_path: Path) -> None:
    borrower = subprocess.Popen([sys.executable, "-c", BORROWS, str(tmp_path)])
    until((tmp_path / "taken").exists)
    assert not (tmp_path / "given-back").exists()
    borrower.send_signal(signal.SIGKILL)
    borrower.wait(10)
    until((tmp_path / "given-back").exists)


def test_the_watchdog_asks_a_busy_stack_again(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(refusals=2, payment=2, inventory=2)
    monkeypatch.setattr(targets, "chosen", lambda name: place)
    monkeypatch.setattr(loan, "_ASK_AGAIN_SECONDS", 0.0)
    assert loan.main(["numbers", "payment=1", "inventory=1"]) == 0
    assert place.sizes == {"payment": 1, "inventory": 1}
