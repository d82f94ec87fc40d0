"""The locks: everything pinned, everything by hash, and each as pyproject.toml and its neighbours have it."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply import locks, relock
from infra.supply.locks import LOCKS, ROOT, LockError, parse

HASH = "--hash=sha256:" + "a" * 64


def test_every_lock_pins_each_distribution_with_hashes_and_names_no_place_of_a_machine() -> None:
    for name in locks.names():
        assert locks.read(name), name
        text = (LOCKS / f"{name}.lock").read_text(encoding="utf-8")
        assert not re.search(r"https?://|file:|-e |(?:^|\s)/\w+/", text), name


@pytest.mark.parametrize(
    "text",
    [
        "httpx==0.28.1\n",
        f"httpx>=0.28 \\\n    {HASH}\n",
        f"httpx \\\n    {HASH}\n",
        f"httpx @ git+ssh://somewhere \\\n    {HASH}\n",
        "-r other.txt\n",
        "httpx==0.28.1 \\\n    --hash=md5:900150983cd24fb0d6963f7d28e17f72\n",
        "# nothing\n",
    ],
)
def test_what_is_not_pinned_by_a_hash_is_refused(text: str) -> None:
    with pytest.raises(LockError):
        parse(text, "x.lock")


def test_a_pin_says_where_it_is_installed_and_who_asked_for_it() -> None:
    via = "    # via\n    #   -c x.lock\n    #   click\n    #   tqdm\n"
    text = f"colorama==0.4.6 ; sys_platform == 'win32' \\\n    {HASH}\n{via}"
    (pin,) = parse(text, "x.lock")
    assert (pin.name, pin.version, pin.marker) == ("colorama", "0.4.6", "sys_platform == 'win32'")
    assert (pin.hashes, pin.wanted_by) == (("a" * 64,), ("click", "tqdm"))


def test_every_requirement_of_the_project_is_pinned_where_its_extra_is_locked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {*relock.CHAIN} | {"uv"} == {*locks.names()}
    for name, (extras, _) in relock.CHAIN.items():
        wanted = [*project["dependencies"], *(each for x in extras for each in project["optional-dependencies"][x])]
        pinned: dict[str, list[str]] = {}
        for pin in locks.read(name):
            pinned.setdefault(pin.name, []).append(pin.version)
        for requirement in map(Requirement, wanted):
            if requirement.name != "holdfast":
                versions = pinned.get(canonicalize_name(requirement.name), [])
                assert versions, (name, str(requirement))
                assert all(requirement.specifier.contains(each, prereleases=True) for each in versions), requirement


def test_a_lock_that_another_grows_from_has_the_same_versions() -> None:
    for name, (_, kept) in relock.CHAIN.items():
        mine = {pin.name: set[str]() for pin in locks.read(name)}
        for pin in locks.read(name):
            mine[pin.name].add(pin.version)
        for base in kept:
            assert [pin for pin in locks.read(base) if pin.name in mine and pin.version not in mine[pin.name]] == []


def test_the_lists_to_ask_about_hold_each_pin_once_and_no_distribution_twice() -> None:
    lists = locks.rounds()
    assert sorted((pin.name, pin.version) for pins in lists for pin in pins) == list(locks.everything())
    for pins in lists:
        assert len({pin.name for pin in pins}) == len(pins)
