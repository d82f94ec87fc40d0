"""Programs that no wheel has: on PATH, or unpacked from the distribution's package without installing it.

`apt-get download` checks the package against the distribution's signatures, and neither it nor `dpkg -x` needs root.
Where the machine's own package lists are missing, as in most container images, lists of our own are fetched first.

Debian's builds look for templates under `/usr/share`, where nothing of ours may be. What has only been unpacked gets
that path replaced, at its length, by one under `.local/tools`, as conda does with the prefix of its packages. The new
path is relative: the stack starts its programs at the root of the tree.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.settings import ROOT

TOOLS = ROOT / ".local" / "tools"
"""Shared by every stack of this tree; `make reset` leaves it alone."""

_POLL_SECONDS = 0.1
_CHECK_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Package:
    """A Debian package, and the absolute directory in which its programs look for their data."""

    name: str
    data: str


@dataclass(frozen=True, slots=True)
class Tool:
    """A program: the names that it goes by, the usual one first, and the package that holds it."""

    source: Package
    names: tuple[str, ...]

    @property
    def package(self) -> str:
        """The package's name."""
        return self.source.name

    @property
    def name(self) -> str:
        """The usual name."""
        return self.names[0]


_PROMETHEUS = Package("prometheus", "/usr/share/prometheus/web")
_ALERTMANAGER = Package("prometheus-alertmanager", "/usr/share/prometheus/alertmanager")

PROMETHEUS = Tool(_PROMETHEUS, ("prometheus",))
PROMTOOL = Tool(_PROMETHEUS, ("promtool",))
ALERTMANAGER = Tool(_ALERTMANAGER, ("alertmanager", "prometheus-alertmanager"))


class ToolMissing(Exception):
    """The program is not to be had; the message is one line that says why and what would help."""


def find(tool: Tool, directory: Path = TOOLS) -> Path | None:
    """The program's path, or None when it is neither on PATH nor unpacked."""
    on_path = next((found for name in tool.names if (found := shutil.which(name))), None)
    if on_path:
        return Path(on_path)
    unpacked = (directory / tool.package / "usr" / "bin" / name for name in tool.names)
    return next((path for path in unpacked if path.is_file()), None)


def expected(tool: Tool, directory: Path = TOOLS) -> Path:
    """Where the program is, or will be once it has been fetched."""
    return find(tool, directory) or directory / tool.package / "usr" / "bin" / tool.names[-1]


def fetch(tool: Tool, report: Callable[[str], None], *, directory: Path = TOOLS, seconds: float = 60.0) -> Path:
    """The program's path; its package is downloaded and unpacked when that is the first time.

    Raises:
        ToolMissing: there is no apt here, the package did not come in time, or the program does not run.
    """
    found = find(tool, directory)
    if found:
        return found
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ToolMissing(f"{tool.name} is not on PATH, and there is no apt here to fetch it: install it.")
    deadline = time.monotonic() + seconds
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory, tool, deadline):
        found = find(tool, directory)
        if found:
            return found  # somebody else has fetched it meanwhile
        report(f"{tool.name}: fetching the package {tool.package}, once")
        _unpack(tool, directory, deadline)
    report(f"{tool.name}: unpacked into {directory / tool.package}")
    return expected(tool, directory)


@contextlib.contextmanager
def _alone(directory: Path, tool: Tool, deadline: float) -> Iterator[None]:
    with (directory / "lock").open("w") as file:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() > deadline:
                raise ToolMissing(f"{tool.name}: another command is still fetching into {directory}.")
            time.sleep(_POLL_SECONDS)
        yield


def _unpack(tool: Tool, directory: Path, deadline: float) -> None:
    part = directory / f"{tool.package}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        archive = _download(tool, part, directory / "apt", deadline)
        done = _run(["dpkg", "-x", str(archive), str(part / "unpacked")], part, deadline)
        if done.returncode:
            raise ToolMissing(f"{tool.name}: dpkg does not unpack {archive.name}: {_last_line(done.stderr)}")
        _relocate(tool.source, part / "unpacked", directory)
        _check_it_runs(tool, part / "unpacked")
        shutil.rmtree(directory / tool.package, ignore_errors=True)
        # Renamed as a whole: what is found under the final name is complete.
        (part / "unpacked").rename(directory / tool.package)
    except subprocess.TimeoutExpired:
        raise ToolMissing(f"{tool.name}: the package {tool.package} did not come in time; try again later.") from None
    except OSError as error:
        raise ToolMissing(f"{tool.name}: not unpacked: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(tool: Tool, part: Path, own: Path, deadline: float) -> Path:
    own_lists = ["-o", f"Dir::State::Lists={own / 'lists'}", "-o", f"Dir::Cache={own / 'cache'}"]
    done = _run(_apt("download", tool.package), part, deadline)
    if done.returncode:
        for directory in (own / "lists" / "partial", own / "cache" / "archives" / "partial"):
            directory.mkdir(parents=True, exist_ok=True)
        _run(_apt(*own_lists, "update"), part, deadline)
        done = _run(_apt(*own_lists, "download", tool.package), part, deadline)
    archives = sorted(part.glob("*.deb"))
    if done.returncode or not archives:
        raise ToolMissing(f"{tool.name}: apt does not have {tool.package}: {_last_line(done.stderr)}")
    return archives[0]


def _apt(*words: str) -> list[str]:
    # The other user that apt downloads as could not write into a directory of ours.
    sandbox = ["-o", "APT::Sandbox::User=root"] if os.geteuid() == 0 else []
    bounded = ["-o", "Acquire::http::Timeout=10", "-o", "Acquire::Retries=1"]
    return ["apt-get", "--quiet=2", *sandbox, *bounded, *words]


def _relocate(package: Package, unpacked: Path, directory: Path) -> None:
    link = directory / Path(package.data).name
    old, new = package.data.encode(), os.path.relpath(link, ROOT).encode()
    if len(new) > len(old):
        return  # outside of the tree; promtool and the like need no data
    for path in (unpacked / "usr" / "bin").iterdir():
        held = path.read_bytes()
        if old in held:
            path.write_bytes(held.replace(old, new.ljust(len(old), b"/")))
    link.unlink(missing_ok=True)
    link.symlink_to(Path(package.name, *Path(package.data).parts[1:]))


def _check_it_runs(tool: Tool, unpacked: Path) -> None:
    binary = next((path for name in tool.names if (path := unpacked / "usr" / "bin" / name).is_file()), None)
    if binary is None:
        raise ToolMissing(f"{tool.name}: the package {tool.package} does not hold it.")
    done = subprocess.run(  # noqa: S603 - just unpacked from a signed package
        [binary, "--version"], capture_output=True, text=True, timeout=_CHECK_SECONDS, check=False
    )
    if done.returncode:
        raise ToolMissing(f"{tool.name}: it does not run here: {_last_line(done.stderr)}")


def _run(words: list[str], directory: Path, deadline: float) -> subprocess.CompletedProcess[str]:
    with subprocess.Popen(  # noqa: S603 - words of ours
        words,
        cwd=directory,
        env=os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=max(0.1, deadline - time.monotonic()))
        except BaseException:
            # apt downloads in processes of its own, which would keep the pipes open: all of them end together
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "(it said nothing)"
