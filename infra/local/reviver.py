"""Starts again what ended and should not have: the stack's one restart policy.

An event listener under the supervisor (its protocol: http://supervisord.org/events.html). The first restart is
immediate, so that a drill shows recovery and not waiting; each further end soon after a start doubles the wait up to a
bound, for ever: a program that is killed a thousand times is started a thousand times. A program that ended with exit
code 78 has said that its configuration is wrong, and is left alone until somebody starts it.

It also ends the faults on purpose whose time is over (`leases.py`), those too that ended while it was away itself, and
looks after a broker whose disk was full (`broker_watch.py`).
"""

import json
import os
import selectors
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from infra.local.broker_watch import BrokerWatch
from infra.local.control import BAD_CONFIGURATION, Control, ControlError
from infra.local.leases import Keeper, Leases

_TOLD = "REMOTE_COMMUNICATION"
"""The event by which a command says that there is a new lease."""

EVENTS = (*(f"PROCESS_STATE_{state}" for state in ("EXITED", "FATAL", "STOPPED", "RUNNING")), _TOLD)

FIRST_WAIT = 0.5
LONGEST_WAIT = 15.0
STEADY_AFTER = 10.0
"""Seconds. A program that lived this long has started well: its next end is a new story."""

LOOK_ANYWAY = 5.0
"""Seconds until the leases are looked at though nobody told of one: its writer may have been killed before telling."""


@dataclass(slots=True)
class Story:
    """How one program fares. `due` is the moment of the next start on the clock in use, None when none is planned."""

    restarts: int = 0
    quick_ends: int = 0
    started: float | None = None
    due: float | None = None


class Policy:
    """Decides when what ended is started again. Knows nothing of processes; time is the caller's, in seconds."""

    def __init__(self) -> None:
        self.stories: dict[str, Story] = {}

    def started(self, name: str, now: float) -> None:
        """The program runs."""
        story = self._story(name)
        story.started, story.due = now, None

    def stopped(self, name: str) -> None:
        """Somebody stopped it on purpose: forget that it ever failed."""
        story = self._story(name)
        story.quick_ends, story.due = 0, None

    def ended(self, name: str, now: float) -> None:
        """It ended by itself: plan its next start."""
        story = self._story(name)
        if story.started is not None and now - story.started >= STEADY_AFTER:
            story.quick_ends = 0
        story.due = now + self.wait(story.quick_ends)
        story.quick_ends += 1

    def due(self, now: float) -> list[str]:
        """The programs whose time has come; each is handed out once."""
        names = [name for name, story in self.stories.items() if story.due is not None and story.due <= now]
        for name in names:
            self.stories[name].due = None
            self.stories[name].restarts += 1
        return names

    def next_due(self) -> float | None:
        """The earliest planned start."""
        return min((story.due for story in self.stories.values() if story.due is not None), default=None)

    @staticmethod
    def wait(quick_ends: int) -> float:
        """Seconds before the next start after so many quick ends: 0, 0.5, 1, 2, 4, 8, 15, 15, ..."""
        if quick_ends == 0:
            return 0.0
        return float(min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(quick_ends - 1, 16)))

    def _story(self, name: str) -> Story:
        return self.stories.setdefault(name, Story())


class Reviver:
    """Feeds the supervisor's events to the policy and carries out what it decides."""

    def __init__(self, control: Control, record: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._control = control
        self._record = record
        self._clock = clock
        self.policy = Policy()

    def catch_up(self) -> None:
        """Plan a start for what ended while no reviver was there to see it."""
        if self._record.exists():
            told = json.loads(self._record.read_text(encoding="utf-8"))
            for name, restarts in told.items():
                self.policy.stories[name] = Story(restarts=restarts)
        for name, state in self._control.programs().items():
            if state.ended and state.exit_status != BAD_CONFIGURATION:
                self.policy.ended(name, self._clock())

    def handle(self, event: str, name: str) -> None:
        """One event of the supervisor about one program."""
        if event == _TOLD:
            return  # the leases are looked at after every event
        if event == "PROCESS_STATE_RUNNING":
            self.policy.started(name, self._clock())
        elif event == "PROCESS_STATE_STOPPED":
            self.policy.stopped(name)
        else:
            state = self._control.programs().get(name)
            if state is not None and state.ended and state.exit_status != BAD_CONFIGURATION:
                self.policy.ended(name, self._clock())

    def start_due(self) -> None:
        """Start what is due, unless somebody stopped or started it meanwhile."""
        names = self.policy.due(self._clock())
        if not names:
            return
        states = self._control.programs()
        for name in names:
            if name in states and states[name].ended:
                try:
                    self._control.start(name)
                except ControlError as error:
                    _log(f"{name}: {error}")
                    self.policy.ended(name, self._clock())
        self._write_record()

    def _write_record(self) -> None:
        counts = {name: asdict(story)["restarts"] for name, story in self.policy.stories.items()}
        temporary = self._record.with_suffix(".part")
        try:
            temporary.write_text(json.dumps(counts), encoding="utf-8")
            temporary.replace(self._record)
        except OSError as error:
            _log(f"{self._record}: {error.strerror}")  # a full disk; what is shown counts from the last that was kept

    def timeout(self) -> float | None:
        """Seconds until the next planned start; None = nothing is planned."""
        due = self.policy.next_due()
        return None if due is None else max(0.0, due - self._clock())


def main(socket: str, record: str, leases: str, broker: str, streams: str) -> None:
    """Serve events from standard input until it closes."""
    control = Control(Path(socket))
    reviver, keeper = Reviver(control, Path(record)), Keeper(Leases(Path(leases)), control)
    watch = BrokerWatch(broker, Path(streams), control)
    reviver.catch_up()
    incoming = sys.stdin.buffer
    with selectors.DefaultSelector() as selector:
        selector.register(incoming.fileno(), selectors.EVENT_READ)
        _say("READY\n")
        while True:
            waits = (reviver.timeout(), keeper.timeout(), LOOK_ANYWAY)
            if selector.select(min(seconds for seconds in waits if seconds is not None)):
                event = _read_event(incoming)
                if event is None:
                    return
                # Answer first: the supervisor must be free to answer what the reviver asks it next.
                _say("RESULT 2\nOK")
                try:
                    reviver.handle(*event)
                except ControlError as error:
                    _log(str(error))
                _say("READY\n")
            for failure in keeper.end_due():
                _log(failure)
            if told := watch.look():
                _log(told)
            try:
                reviver.start_due()
            except ControlError as error:
                _log(str(error))


def _read_event(incoming: BinaryIO) -> tuple[str, str] | None:
    """One event's name and program. Read without a buffer, so that the selector sees what is still unread."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(incoming.fileno(), 1)
        if not byte:
            return None
        line += byte
    header = dict(pair.split(":", 1) for pair in line.decode().split())
    payload = b""
    while len(payload) < int(header["len"]):
        chunk = os.read(incoming.fileno(), int(header["len"]) - len(payload))
        if not chunk:
            return None
        payload += chunk
    body = dict(pair.split(":", 1) for pair in payload.decode().split() if ":" in pair)
    return header["eventname"], body.get("processname", "")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _log(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S')} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    main(*sys.argv[1:6])
