"""docs/licences.md: every locked distribution with its licence, and which licences there may be."""

import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from license_expression import LicenseExpression
from packaging.utils import canonicalize_name

from infra.supply.locks import LOCKS, ROOT, LockError, Pin, everything, rounds
from infra.supply.relock import find_uv
from infra.supply.spdx import Metadata, licensing, stated, valid

PAGE = ROOT / "docs" / "licences.md"
DECISIONS = LOCKS / "licences.toml"

PERMISSIVE = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Modification", "CC0-1.0", "ISC", "MIT"),
        *("MIT-0", "PSF-2.0", "PostgreSQL", "Unlicense", "Zlib"),
    }
)
"""What may be handed on with a work under Apache-2.0, also changed, when its notices are kept."""
BY_FILE = frozenset({"MPL-2.0", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-only", "LGPL-3.0-or-later", "EPL-2.0"})
"""What asks for the source of its own files: where the reason is written down why that harms nobody here."""

_SHIPPED = ("runtime", "predict", "remediation")
_USES = {"images": _SHIPPED, "make up": ("local", "chaos", "postgres")}
_ROW = re.compile(r"^\| ([a-z0-9-]+) \| (\d\S*) \| ([^|]+) \| ([^|]+) \|", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Decisions:
    """`requirements/licences.toml`, written by people.

    read: licences that no metadata tells, by distribution: {"licence", "where"}
    accepted: why a licence by file is, by distribution
    carried: what wheels carry inside that their own licence does not tell, by distribution
    """

    read: dict[str, dict[str, str]]
    accepted: dict[str, str]
    carried: dict[str, str]

    @classmethod
    def load(cls) -> "Decisions":
        """What is committed."""
        found: dict[str, Any] = tomllib.loads(DECISIONS.read_text(encoding="utf-8"))
        return cls(found.get("read", {}), found.get("accepted", {}), found.get("carried", {}))


def table() -> dict[tuple[str, str], str]:
    """The committed page: the licence of each `(name, version)`."""
    rows = _ROW.findall(PAGE.read_text(encoding="utf-8"))
    return {(name, version): licence.strip() for name, version, licence, _ in rows}


def refused(name: str, licence: str, decisions: Decisions) -> str | None:
    """Why a distribution under this licence may not be used here; None: it may."""
    if valid(licence) is None:
        return f"{name}: {licence!r} is no licence that SPDX knows"
    if _within(licensing().parse(licence), PERMISSIVE):
        return None
    if not _within(licensing().parse(licence), PERMISSIVE | BY_FILE):
        return f"{name}: {licence} cannot be handed on with a work under Apache-2.0"
    if not decisions.accepted.get(name):
        return f"{name}: {licence} needs a reason in requirements/licences.toml, under [accepted]"
    return None


def _within(expression: Any, allowed: frozenset[str]) -> bool:
    """Whether somebody who takes only `allowed` licences can take this one."""
    if isinstance(expression, licensing().OR):
        return any(_within(each, allowed) for each in expression.args)
    if isinstance(expression, licensing().AND):
        return all(_within(each, allowed) for each in expression.args)
    return isinstance(expression, LicenseExpression) and str(expression) in allowed


def write() -> list[str]:
    """Ask every locked distribution's own metadata, and write the page. Returns why some may not be used.

    Fetches the wheels that the installer has not kept. LockError: one cannot be had.
    """
    decisions = Decisions.load()
    found: dict[tuple[str, str], str] = {}
    with tempfile.TemporaryDirectory(prefix="licences-") as directory:
        for number, pins in enumerate(rounds()):
            found |= dict(_asked(Path(directory) / str(number), pins, decisions))
    PAGE.write_text(render(found, decisions), encoding="utf-8")
    return [why for (name, _), licence in sorted(found.items()) if (why := refused(name, licence, decisions))]


def _asked(directory: Path, pins: list[Pin], decisions: Decisions) -> Iterator[tuple[tuple[str, str], str]]:
    directory.mkdir()
    wanted = directory / "wanted.txt"
    wanted.write_text("\n".join(pin.requirement for pin in pins), encoding="utf-8")
    # The second versions of a lock are those for newer Pythons.
    newer = [] if directory.name == "0" else ["--python-version", "3.13"]
    words = [find_uv(), "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", "--require-hashes", *newer]
    words += ["--python", sys.executable, "--target", str(directory / "site"), "-r", str(wanted)]
    if subprocess.run(words, check=False).returncode:  # noqa: S603
        raise LockError("the locked distributions cannot be fetched (the reason is above)")
    there = {
        str(canonicalize_name(each.metadata["Name"])): each for each in distributions(path=[str(directory / "site")])
    }
    for pin in pins:
        yield (pin.name, pin.version), _licence(pin.name, there[pin.name], decisions)


def _licence(name: str, distribution: Distribution, decisions: Decisions) -> str:
    by_hand = decisions.read.get(name)
    files = [each for each in distribution.files or () if re.search(r"(?i)licen[cs]e|copying", each.name)]
    texts = [each.read_text(encoding="utf-8") for each in files if each.suffix in ("", ".txt", ".md", ".rst")]
    return (by_hand or {}).get("licence") or stated(Metadata.of(distribution), texts) or "unknown"


def render(licences: dict[tuple[str, str], str], decisions: Decisions) -> str:
    """The page."""
    pinned = everything()
    rows = [
        f"| {name} | {version} | {licence} | {_used(pinned[name, version])} |"
        for (name, version), licence in sorted(licences.items())
    ]
    reasons = [f"| {name} | {why} |" for name, why in sorted((decisions.accepted | decisions.carried).items())]
    by_hand = [f"| {name} | {each['licence']} | {each['where']} |" for name, each in sorted(decisions.read.items())]
    return _PAGE.format(rows="\n".join(rows), reasons="\n".join(reasons), by_hand="\n".join(by_hand))


def _used(locks: list[str]) -> str:
    return next((use for use, of in _USES.items() if {*locks} & {*of}), "tools")


_PAGE = """\
# Licences

Written by `make licences` from the [locks](../requirements) and each distribution's own metadata; a
[test](../tests/unit/supply/test_licences.py) fails when the two differ. Holdfast itself is under
[Apache-2.0](../LICENSE). It contains none of these: they are installed beside it, and images built from the
[Dockerfile](../infra/docker/Dockerfile) carry those marked "images", with the licence files that their wheels bring.

What may be locked: licences that can be handed on with a work under Apache-2.0; those that ask for the source of their
own files, with a reason; nothing under GPL or AGPL; nothing that says nothing.

## Reasons

| distribution | why |
|---|---|
{reasons}

## Read by a person

Their metadata does not tell.

| distribution | licence | where it was read |
|---|---|---|
{by_hand}

## All of them

"make up": what the local stack, experiments and a local Postgres need beside the images' packages. "tools": tests,
training, benches; never shipped.

| distribution | version | licence | for |
|---|---|---|---|
{rows}
"""
