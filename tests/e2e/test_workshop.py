"""Every lab on a running platform: its check fails before the lab, still fails when only the harm has been seen, and
passes after its solution.

The game day and the prediction take minutes: their checks are tested on what such days record
(tests/unit/workshop).
"""

from collections.abc import Iterator

import pytest

from infra.local import envoy
from infra.local.distribution import PROMETHEUS, ToolMissing, fetch
from infra.local.harness import running_stack
from workshop.__main__ import DONE, NOT_YET, UNAVAILABLE, main
from workshop.lab import Lab, noted
from workshop.labs import LABS
from workshop.platform import Platform

pytestmark = pytest.mark.slow

_TAKE_MINUTES = {11, 12}
_ABOUT_THE_MESH = {8, 9}
# A changed policy is looked for every two seconds, and each lab changes some.
_COMMAND = "env RESILIENCE_RELOAD_SECONDS=0.2 {python} -m services.{module}"
_SHORT = [LABS[number] for number in sorted(LABS.keys() - _TAKE_MINUTES)]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    directory = tmp_path_factory.mktemp("workshop") / ".local"
    with (
        running_stack(directory, traces="on", prometheus="on", scrape_seconds=1, service_command=_COMMAND) as stack,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("HOLDFAST_STATE_DIR", str(directory))
        yield Platform(stack)


def possible(at: Platform, lab: Lab) -> None:
    if lab.number in _ABOUT_THE_MESH and not envoy.runs(at.stack.settings):
        pytest.skip("there is no Envoy for this platform")
    if lab.number == 10:
        try:
            fetch(PROMETHEUS, lambda _line: None)
        except ToolMissing as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("lab", _SHORT, ids=[each.page.removesuffix(".md") for each in _SHORT])
def test_its_check_fails_before_the_lab_and_passes_only_after_its_solution(
    at: Platform, lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    possible(at, lab)
    number = str(lab.number)
    assert main(["start", number]) == DONE
    note = noted(at.directory, lab.number)
    assert note is not None
    assert main(["check", number]) == NOT_YET
    assert f"docs/workshop/{lab.page}#" in capsys.readouterr().out
    lab.see(at, note)
    assert main(["check", number]) == NOT_YET
    answer = lab.mend(at, note)
    assert main(["check", number, "--answer", answer]) == DONE, capsys.readouterr().out


def test_what_was_done_before_a_lab_began_does_not_count_and_hints_come_one_by_one(
    at: Platform, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["start", "1"]) == DONE
    assert main(["check", "1"]) == NOT_YET
    assert "Of 0 orders since the lab began" in capsys.readouterr().out
    for expected in ("1 of 3", "2 of 3", "3 of 3", "3 of 3"):
        assert main(["hint", "1"]) == DONE
        assert f"Hint {expected}" in capsys.readouterr().out


def test_after_the_end_everything_is_as_make_up_leaves_it(at: Platform) -> None:
    for number in ("3", "4", "6"):
        assert main(["start", number]) == DONE
    assert main(["end"]) == DONE
    (pipeline,) = at.pipelines("payment.process")
    assert all(pipeline["layers"].values())
    assert pipeline["breaker"]["state"] == "closed"
    assert {"circuit_breaker", "retry", "bulkhead", "timeout"} <= pipeline["layers"].keys()


def test_without_a_platform_it_says_how_to_start_one(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOLDFAST_STATE_DIR", str(tmp_path_factory.mktemp("nobody")))
    assert main(["check", "1"]) == UNAVAILABLE
    assert "make up" in capsys.readouterr().err
