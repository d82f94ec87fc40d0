"""Replicas that run for an experiment only: they are given back whatever becomes of the experiment.

    python -m chaos.loan local payment=1 inventory=1

A watchdog in a session of its own waits at a pipe that only the runner holds. It runs the command above when the pipe
closes before it was told that all is given back: also when the runner was killed.
"""

import logging
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos import targets
from chaos.targets.target import Target, TargetError

logger = logging.getLogger("chaostoolkit")

_GIVEN_BACK = b"given back\n"
_WATCHDOG = 'read -r word; [ "$word" = "given back" ] || exec "$@"'
_PATIENCE_SECONDS, _ASK_AGAIN_SECONDS = 45.0, 0.5


class Loan:
    """The replicas of one experiment. `watchdog`: what runs when nobody gives them back; default: the command above."""

    def __init__(self, target: Target, log: Path, watchdog: Sequence[str] = ()) -> None:
        self._target, self._log, self._watchdog = target, log, watchdog
        self._before: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def take(self, wanted: Mapping[str, int]) -> None:
        """Run so many replicas of each service; nothing happens where so many run. Raises `TargetError`."""
        runs = {service: self._target.size(service) for service in wanted}
        self._before = {service: runs[service] for service, count in wanted.items() if runs[service] != count}
        if not self._before:
            return
        self._watch()
        for service in self._before:
            self._target.scale(service, wanted[service])

    def give_back(self) -> None:
        """Run as many as before; what fails is left to the watchdog."""
        for service, before in self._before.items():
            try:
                self._target.scale(service, before)
            except TargetError:
                logger.exception("%s could not be scaled back to %d", service, before)
            else:
                self._before = {name: count for name, count in self._before.items() if name != service}
        if self._process is not None and self._process.stdin is not None:
            with self._process.stdin as pipe:
                if not self._before:
                    pipe.write(_GIVEN_BACK)
            self._process = None

    def _watch(self) -> None:
        counts = [f"{service}={count}" for service, count in self._before.items()]
        command = self._watchdog or (sys.executable, "-m", "chaos.loan", self._target.name, *counts)
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own words
                ["/bin/sh", "-c", _WATCHDOG, "loan", *command],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip


def main(words: Sequence[str]) -> int:
    """Scale services to the counts in `service=count`; a stack that is at work on something else is asked again."""
    target = targets.chosen(words[0])
    for word in words[1:]:
        service, _, count = word.partition("=")
        give_up = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                target.scale(service, int(count))
                break
            except TargetError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(_ASK_AGAIN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
