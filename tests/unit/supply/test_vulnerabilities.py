"""What is told about known vulnerabilities, and above all what is told when nobody could be asked."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from infra.supply import __main__ as command
from infra.supply import vulnerabilities
from infra.supply.locks import Pin
from infra.supply.vulnerabilities import Report, look

PINS = [[Pin("httpx", "0.28.1", ("a" * 64,)), Pin("idna", "3.20", ("b" * 64,))]]


def answering(*dependencies: dict[str, Any], code: int = 0) -> vulnerabilities.Ask:
    def ask(requirements: Path) -> tuple[int, str, str]:
        assert (
            requirements.read_text() == f"httpx==0.28.1 --hash=sha256:{'a' * 64}\nidna==3.20 --hash=sha256:{'b' * 64}"
        )
        return code, json.dumps({"dependencies": dependencies, "fixes": []}), "No known vulnerabilities found"

    return ask


KNOWN = {"name": "httpx", "version": "0.28.1", "vulns": []}
BAD = {"id": "PYSEC-1", "aliases": ["CVE-1"], "fix_versions": ["3.21"], "description": "bad"}


def test_a_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    report = look(answering(KNOWN, {"name": "idna", "version": "3.20", "vulns": [BAD]}, code=1), PINS)
    assert [str(each) for each in report.findings] == ["idna 3.20: PYSEC-1, CVE-1 (mended in 3.21)"]
    assert (report.asked, report.unanswered) == (2, ())


def test_what_the_service_does_not_know_or_leaves_out_counts_as_not_asked() -> None:
    report = look(answering(KNOWN, {"name": "idna", "skip_reason": "not found"}), PINS)
    assert (report.asked, report.unanswered) == (1, ("idna 3.20: not found",))
    assert look(answering(KNOWN), PINS).unanswered == ("idna 3.20: left out",)


def test_a_service_that_cannot_be_reached_is_never_taken_for_good_news() -> None:
    away = look(lambda _: (1, "", "Traceback\nrequests.exceptions.ConnectionError: refused"), PINS)
    assert not away.reached
    assert away.unanswered[0] == "httpx 0.28.1: requests.exceptions.ConnectionError: refused"
    assert not look(answering(*({"name": pin.name, "skip_reason": "?"} for pin in PINS[0])), PINS).reached


@pytest.mark.parametrize(
    ("report", "code", "says"),
    [
        (Report((), 2, ()), 0, "2 locked distributions were checked: 0 known"),
        (Report((), 0, ("idna 3.20: refused",)), os.EX_UNAVAILABLE, "NOTHING WAS CHECKED"),
        (Report((), 1, ("idna 3.20: not found",)), 0, "NOT ASKED: 1"),
        (Report((vulnerabilities.Finding("idna", "3.20", ("CVE-1",), ()),), 2, ()), 1, "CVE-1 (not mended yet)"),
    ],
)
def test_the_command_fails_for_a_finding_and_has_an_exit_code_of_its_own_for_silence(
    report: Report, code: int, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vulnerabilities, "look", lambda: report)
    assert command.main(["vulnerabilities"]) == code
    assert says in capsys.readouterr().out
