"""The command: one turn, the kill switch, and how it ends on a bad policy or beside another process."""

from pathlib import Path

import pytest

from ml.remediation.audit import Audit
from ml.remediation.command import EX_CONFIG, EX_TEMPFAIL, main

NOBODY = ["--predictor", "http://127.0.0.1:9", "--prometheus", "http://127.0.0.1:9", "--once"]


def test_one_turn_without_a_predictor_knows_nothing_and_does_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--directory", str(tmp_path), "--token-file", str(tmp_path / "none"), "--mode", "auto", *NOBODY]) == 0
    assert "unknown: the predictor" in capsys.readouterr().out
    assert (tmp_path / "audit.jsonl").read_bytes() == b""


def test_the_kill_switch_is_a_file_that_stop_makes_and_resume_removes(tmp_path: Path) -> None:
    assert main(["stop", "--directory", str(tmp_path)]) == 0
    assert (tmp_path / "stop").exists()
    assert main(["resume", "--directory", str(tmp_path)]) == 0
    assert not (tmp_path / "stop").exists()


def test_a_policy_that_cannot_be_used_ends_the_start_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.yaml").write_text("mode: perhaps\n")
    assert main(["--directory", str(tmp_path), "--policy", str(tmp_path / "policy.yaml"), *NOBODY]) == EX_CONFIG
    assert "policy.yaml:1: mode" in capsys.readouterr().err


def test_a_second_process_does_not_act_beside_the_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Audit(tmp_path / "audit.jsonl"):
        assert main(["--directory", str(tmp_path), *NOBODY]) == EX_TEMPFAIL
    assert "another process" in capsys.readouterr().err
