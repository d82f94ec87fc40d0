"""Logs: the last lines of many files in one order, one trace out of all, and through a rotation."""

import json
from pathlib import Path

import pytest

from infra.local import logs


def entry(moment: str, event: str, trace: str = "") -> str:
    return json.dumps({"timestamp": f"2026-01-01T00:00:{moment}Z", "event": event, "trace_id": trace})


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "order-1.log").write_text("\n".join([entry("01", "a", "t1"), entry("04", "d", "t2")]) + "\n")
    (tmp_path / "payment-1.log").write_text(
        "\n".join([entry("02", "b", "t1"), "Traceback: plain", entry("05", "e", "t1")]) + "\n"
    )
    (tmp_path / "payment-v2-1.log").write_text(entry("03", "c", "t1") + "\n")
    return tmp_path


def said(lines: list[logs.Line]) -> list[str]:
    return [str(line.fields.get("event", line.text)) for line in lines]


def test_lines_of_all_programs_come_in_the_order_of_their_time(directory: Path) -> None:
    assert said(logs.recent(directory, "", "", 10)) == ["a", "b", "Traceback: plain", "c", "d", "e"]


def test_only_the_last_lines_are_shown(directory: Path) -> None:
    assert said(logs.recent(directory, "", "", 2)) == ["d", "e"]


def test_one_trace_is_picked_out_of_every_service(directory: Path) -> None:
    assert said(logs.recent(directory, "", "t1", 10)) == ["a", "b", "c", "e"]


def test_a_service_is_not_mistaken_for_its_second_version(directory: Path) -> None:
    assert {line.program for line in logs.recent(directory, "payment", "", 10)} == {"payment-1"}
    assert {line.program for line in logs.recent(directory, "payment-v2", "", 10)} == {"payment-v2-1"}


def test_following_goes_on_through_a_rotation_and_into_new_files(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = logs.follow(directory, "", "")
    steps = iter(
        [
            lambda: (directory / "order-1.log").open("a").write("one\n"),
            lambda: (
                (directory / "order-1.log").rename(directory / "order-1.log.1"),
                (directory / "order-1.log").write_text("two\n"),
            ),
            lambda: (directory / "order-2.log").write_text("three\n"),
        ]
    )
    monkeypatch.setattr(logs.time, "sleep", lambda _seconds: next(steps)())
    assert [next(stream).text for _ in range(3)] == ["one", "two", "three"]
