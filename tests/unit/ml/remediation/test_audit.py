"""The audit file survives torn lines, has one writer, and refuses rather than loses."""

from pathlib import Path

import pytest

from ml.remediation.audit import Audit, AuditUnavailable, Record, moment
from ml.remediation.policy import Mode


def record(record_id: str, **more: object) -> Record:
    at = moment(1_000_000_000)
    told = {
        "id": record_id, "at": at, "began": at, "stage": "begun", "service": "payment", "alarm": "a", "mode": Mode.AUTO,
        "control": False, "actuator": "local", "cause": "c", "prediction": {"probability": 0.8}, "decision": "act",
        "reason": "r",
    }  # fmt: skip
    return Record.model_validate(told | more)


def test_the_last_line_of_a_record_is_the_record(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit.jsonl") as audit:
        audit.write(record("one"))
        audit.write(record("two"))
        audit.write(record("one", stage="finished", outcome="done"))
        found = audit.records()
    assert list(found) == ["one", "two"]
    assert (found["one"].outcome, found["two"].outcome) == ("done", "")
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_torn_line_costs_that_line_only(tmp_path: Path) -> None:
    file = tmp_path / "audit.jsonl"
    with Audit(file) as audit:
        audit.write(record("one"))
    with file.open("ab") as torn:
        torn.write(b'{"id": "two", "at"')
    with Audit(file) as audit:
        audit.write(record("three"))
        assert list(audit.records()) == ["one", "three"]


def test_only_one_process_writes(tmp_path: Path) -> None:
    with Audit(tmp_path / "audit.jsonl"), pytest.raises(AuditUnavailable, match="another process"):
        Audit(tmp_path / "audit.jsonl")
    Audit(tmp_path / "audit.jsonl").__exit__(None, None, None)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full here")
    (tmp_path / "audit.jsonl").symlink_to(full)
    with pytest.raises(AuditUnavailable), Audit(tmp_path / "audit.jsonl") as audit:
        audit.write(record("one"))
