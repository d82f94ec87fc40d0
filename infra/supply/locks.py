"""The files `requirements/*.lock`: what each pins, by which hashes, on whose behalf."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "requirements"
ROOT_PROJECT = "holdfast"

_PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(?P<version>[^\s;\\]+)(?: ; (?P<marker>[^\\\n]+?))?(?: \\)?\n"
    r"(?P<rest>(?:[ ]+.*\n?)*)",
    re.MULTILINE,
)
_HASH = re.compile(r"--hash=sha256:([0-9a-f]{64})")
_VIA = re.compile(r"^ +# +(?:via )?([A-Za-z0-9._-]+)(?:\[[^\]]*\])?(?: \(.*\))?$", re.MULTILINE)


class LockError(Exception):
    """A lock is not what `make locks` writes; the text names the file and what is wrong."""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One version of one distribution.

    hashes: SHA-256 of every file that may be installed for it, sorted
    marker: where it is installed (PEP 508), empty for everywhere
    wanted_by: normalised names of what asked for it; `holdfast` is this repository
    """

    name: str
    version: str
    hashes: tuple[str, ...]
    marker: str = ""
    wanted_by: tuple[str, ...] = ()

    @property
    def requirement(self) -> str:
        """The pin as a line of a requirements file, with its hashes and without its marker."""
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{each}" for each in self.hashes)])


def names() -> list[str]:
    """The locks that there are: `runtime`, `local` and so on, sorted."""
    return sorted(path.stem for path in LOCKS.glob("*.lock"))


def path_of(name: str) -> Path:
    """Where a lock is. LockError: there is none of that name."""
    path = LOCKS / f"{name}.lock"
    if not path.is_file():
        raise LockError(f"there is no lock {name!r}; there are {', '.join(names())}")
    return path


def read(name: str) -> list[Pin]:
    """What a lock pins, in its own order. LockError: a line is no pin, or a pin has no hash."""
    return parse(path_of(name).read_text(encoding="utf-8"), f"requirements/{name}.lock")


def parse(text: str, file: str) -> list[Pin]:
    """As `read`, for the text of a lock; `file` is only named in errors."""
    found = [_pin(match, file) for match in _PIN.finditer(text)]
    left = [line for line in _PIN.sub("", text).splitlines() if line.strip() and not line.startswith("#")]
    if left:
        raise LockError(f"{file}: not a pin with `==`: {left[0]!r}")
    if not found:
        raise LockError(f"{file}: pins nothing")
    return found


def _pin(match: re.Match[str], file: str) -> Pin:
    hashes = tuple(sorted(_HASH.findall(match["rest"])))
    if not hashes:
        raise LockError(f"{file}: {match['name']}=={match['version']} has no hash")
    wanted = {canonicalize_name(name) for name in _VIA.findall(match["rest"]) if name != "via"}
    return Pin(canonicalize_name(match["name"]), match["version"], hashes, match["marker"] or "", tuple(sorted(wanted)))


def everything(locks: Iterable[str] | None = None) -> dict[tuple[str, str], list[str]]:
    """Every `(name, version)` that some lock pins, with the locks that do; sorted."""
    found: dict[tuple[str, str], list[str]] = {}
    for lock in names() if locks is None else locks:
        for pin in read(lock):
            found.setdefault((pin.name, pin.version), []).append(lock)
    return dict(sorted(found.items()))


def rounds(locks: Iterable[str] | None = None) -> list[list[Pin]]:
    """Every pin once, in as few lists as it takes for no list to hold two versions of one distribution."""
    every = {(pin.name, pin.version): pin for lock in (names() if locks is None else locks) for pin in read(lock)}
    by_name: dict[str, list[Pin]] = {}
    for _, pin in sorted(every.items()):
        by_name.setdefault(pin.name, []).append(pin)
    most = max(map(len, by_name.values()), default=0)
    return [[pins[place] for pins in by_name.values() if place < len(pins)] for place in range(most)]
