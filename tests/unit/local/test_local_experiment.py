"""Experiments that are started where only the stack was installed."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local import experiment


@pytest.fixture
def becomes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What it installs with, then what it becomes."""
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, words: seen.append(words[1:]))
    monkeypatch.setattr(subprocess, "run", lambda words, **_more: seen.append([Path(words[0]).name, *words[1:]]))
    return seen


def test_what_an_experiment_needs_is_installed_before_the_first(
    becomes: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(experiment, "find_spec", lambda _name: None)
    experiment.main(["run", "control"])
    assert becomes == [["bootstrap.sh", "chaos"], ["-m", "chaos", "run", "control"]]


def test_nothing_is_installed_where_it_is_there(becomes: list[list[str]]) -> None:
    experiment.main(["stop"])
    assert becomes == [["-m", "chaos", "stop"]]


def test_without_its_packages_it_says_what_to_do_and_does_not_begin(
    becomes: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_words: Any, **_more: Any) -> None:
        raise subprocess.CalledProcessError(1, "bootstrap.sh")

    monkeypatch.setattr(experiment, "find_spec", lambda _name: None)
    monkeypatch.setattr(subprocess, "run", fails)
    with pytest.raises(SystemExit) as left:
        experiment.main(["run", "control"])
    assert left.value.code == 1
    assert "make chaos" in capsys.readouterr().err
    assert becomes == []
