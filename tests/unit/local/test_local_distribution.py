"""Where programs come from that no wheel has: with an apt and a dpkg that do as they are told."""

import time
from pathlib import Path

import pytest

from infra.local.distribution import ALERTMANAGER, PROMETHEUS, ToolMissing, expected, fetch, find

DPKG = r"""mkdir -p "$3/usr/bin"
program="$3/usr/bin/prometheus"
printf '#!/bin/sh\necho %s\n' prometheus > "$program" && chmod +x "$program"
"""


class Machine:
    """A PATH with nothing on it but what is put there."""

    def __init__(self, home: Path) -> None:
        self.bin, self.tools, self.said = home / "bin", home / "tools", []
        self.bin.mkdir()
        self.calls = home / "calls"

    def has(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "{name} $*" >> {self.calls}\n{script}')
        path.chmod(0o755)

    def fetch(self, seconds: float = 10) -> Path:
        return fetch(PROMETHEUS, self.said.append, directory=self.tools, seconds=seconds)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path)
    monkeypatch.setenv("PATH", str(made.bin))
    return made


def test_what_is_on_path_is_taken_and_nothing_is_fetched(machine: Machine) -> None:
    machine.has("prometheus", "")
    machine.has("apt-get", "exit 1")
    assert machine.fetch() == machine.bin / "prometheus"
    assert not machine.calls.exists()


def test_a_program_may_go_by_its_debian_name(machine: Machine) -> None:
    machine.has("prometheus-alertmanager", "")
    assert find(ALERTMANAGER, machine.tools) == machine.bin / "prometheus-alertmanager"


def test_a_package_is_fetched_and_unpacked_once(machine: Machine) -> None:
    machine.has("apt-get", "touch prometheus.deb\n")
    machine.has("dpkg", DPKG)
    foreseen = expected(PROMETHEUS, machine.tools)
    assert machine.fetch() == machine.fetch() == foreseen
    assert machine.calls.read_text().count("dpkg -x") == 1
    assert len(machine.said) == 2
    assert not list(machine.tools.glob("*.part"))


def test_without_the_machines_package_lists_lists_of_our_own_are_fetched(machine: Machine) -> None:
    machine.has("apt-get", 'case "$*" in *update) touch ../updated ;; *) [ -e ../updated ] && touch p.deb ;; esac\n')
    machine.has("dpkg", DPKG)
    assert machine.fetch().exists()
    calls = machine.calls.read_text().splitlines()
    assert [call.split()[-1] for call in calls[:3]] == ["prometheus", "update", "prometheus"]
    assert f"Dir::State::Lists={machine.tools}/apt/lists" in calls[1]


def test_without_apt_the_reason_is_one_line(machine: Machine) -> None:
    with pytest.raises(ToolMissing, match="no apt here") as missing:
        machine.fetch()
    assert "\n" not in str(missing.value)


def test_apts_own_last_word_is_the_reason(machine: Machine) -> None:
    machine.has("apt-get", "echo one >&2; echo 'E: Unable to locate package' >&2; exit 100\n")
    machine.has("dpkg", DPKG)
    with pytest.raises(ToolMissing, match="E: Unable to locate package"):
        machine.fetch()


def test_a_mirror_that_does_not_answer_is_given_up_with_all_its_processes(machine: Machine) -> None:
    machine.has("apt-get", "sleep 60 & sleep 60\n")
    machine.has("dpkg", DPKG)
    began = time.monotonic()
    with pytest.raises(ToolMissing, match="did not come in time"):
        machine.fetch(seconds=0.3)
    assert time.monotonic() - began < 30


def test_a_program_that_does_not_run_here_is_not_kept(machine: Machine) -> None:
    machine.has("apt-get", "touch prometheus.deb\n")
    machine.has("dpkg", DPKG.replace("echo %s", "echo wrong machine >&2; exit 1 # %s"))
    with pytest.raises(ToolMissing, match="wrong machine"):
        machine.fetch()
    assert find(PROMETHEUS, machine.tools) is None
