"""A broker whose disk was full is started again once there is room, and not before."""

from pathlib import Path

import pytest

from infra.local import broker_watch
from infra.local.broker_watch import LOOK_EVERY, BrokerWatch, has_room
from infra.local.control import Control

STUCK = '{"status":"unavailable","error":"JetStream stream PAYMENTS write error: no space left on device"}'
STARTING = '{"status":"unavailable","error":"JetStream is not current with the meta leader"}'


class Signals(Control):
    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.sent: list[tuple[str, str]] = []

    def signal(self, name: str, signal: str) -> None:
        self.sent.append((name, signal))


class Scene:
    def __init__(self, store: Path) -> None:
        self.now, self.said, self.control = 0.0, "", Signals()
        self.watch = BrokerWatch("", store, self.control, clock=lambda: self.now, says=lambda _: self.said)

    def look(self, said: str) -> str:
        self.said = said
        self.now += LOOK_EVERY
        return self.watch.look()


def test_a_stuck_broker_is_started_again_and_one_that_is_well_away_or_starting_is_not(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    assert [scene.look(said) for said in ("", STARTING)] == ["", ""]
    assert scene.control.sent == []
    assert "there is room" in scene.look(STUCK)
    assert scene.control.sent == [("nats", "TERM")]
    assert scene.watch.look() == ""  # it is not time yet


def test_a_disk_without_room_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(tmp_path)
    monkeypatch.setattr(broker_watch, "has_room", lambda _: False)
    assert "no room yet" in scene.look(STUCK)
    assert scene.control.sent == []


def test_room_is_what_can_be_written(tmp_path: Path) -> None:
    assert has_room(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert not has_room(tmp_path / "gone")
