"""make's commands find the stack that was started."""

import re
from pathlib import Path

import pytest

from infra.compose import __main__ as compose
from infra.local import __main__ as local
from infra.local.errors import StackError
from infra.local.settings import ROOT
from infra.stack import __main__ as commands
from infra.stack.choice import Choice, Remembered
from infra.stack.tools import MODULES


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What the two stacks were told, instead of doing it."""
    told: list[tuple[str, list[str]]] = []

    def stands_in(name: str) -> object:
        return lambda words: told.append((name, words)) or 0

    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(commands, "_MAIN", {name: stands_in(name) for name in ("local", "compose")})
    monkeypatch.setattr(commands, "to_start", lambda *_: Choice("compose", "a container engine answers"))
    return told


def test_what_up_has_chosen_is_said_and_every_later_command_goes_there_until_down(
    ran: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["up"]) == 0
    assert "The stack is 'compose': a container engine answers." in capsys.readouterr().out
    commands.main(["--stack", "auto", "scale", "payment", "3"])
    commands.main(["down"])
    commands.main(["status"])
    assert ran == [
        ("compose", ["up"]),
        ("compose", ["scale", "payment", "3"]),
        ("compose", ["down"]),
        ("local", ["status"]),
    ]


def test_a_stack_that_is_named_is_asked_whatever_was_started(ran: list[tuple[str, list[str]]]) -> None:
    commands.main(["--stack", "compose", "reset", "--yes"])
    assert ran == [("compose", ["reset", "--yes"])]


def test_a_stack_that_could_not_be_stopped_is_still_the_one_that_was_started(
    ran: list[tuple[str, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands.main(["up"])
    monkeypatch.setattr(commands, "_MAIN", {"compose": lambda _words: 1})
    assert commands.main(["down"]) == 1
    assert tmp_path.joinpath("stack").read_text() == "compose"
    assert Remembered(commands.sources.load()).read() == "compose"


def test_a_stack_that_does_not_exist_is_refused(
    ran: list[tuple[str, list[str]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert commands.main(["--stack", "swarm", "down"]) == 1
    assert "STACK=swarm: there are auto, local and compose." in capsys.readouterr().err
    assert ran == []


def test_the_reason_that_no_stack_can_start_is_shown_with_the_way_out(
    ran: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> Choice:
        raise StackError("STACK=compose: no container engine is installed.", "make up STACK=local")

    monkeypatch.setattr(commands, "to_start", refuse)
    assert commands.main(["--stack", "compose", "up"]) == 1
    assert "make up STACK=local" in capsys.readouterr().err
    assert ran == []


def test_both_stacks_know_every_command_that_make_gives_to_whichever_runs(capsys: pytest.CaptureFixture[str]) -> None:
    given = set(re.findall(r"\$\(WHICHEVER\) ([a-z-]+)", (ROOT / "Makefile").read_text()))
    assert {"up", "down", "room"} <= given
    for name in given - set(MODULES):
        for main in (local.main, compose.main):
            with pytest.raises(SystemExit) as ended:
                main([name, "--help"])
            assert ended.value.code == 0, capsys.readouterr().err
