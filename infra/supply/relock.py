"""Writes every lock anew from pyproject.toml; with `upgrade`, with the newest versions that fit."""

import shutil
import subprocess
from pathlib import Path

from infra.supply.locks import LOCKS, ROOT, LockError

# What a lock holds beside the services' own packages, and the locks whose versions it keeps: an environment that one
# lock has filled can then be grown to a larger one, and an image built on another.
CHAIN: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "runtime": ((), ()),
    "local": (("local",), ("runtime",)),
    "predict": (("predict",), ("local",)),
    "remediation": (("remediation",), ("local",)),
    "chaos": (("local", "chaos"), ("local",)),
    "postgres": (("local", "chaos", "postgres"), ("chaos", "local")),
    "dev": (("local", "postgres", "chaos", "train", "remediation", "dev"), ("chaos", "local")),
    # instrumentation that wants OpenTelemetry's versions of its own: in an environment apart
    "bench": (("bench",), ()),
}


def relock(*, upgrade: bool) -> None:
    """Compile the locks one after the other. LockError: uv is missing, or some requirement cannot be met."""
    uv = find_uv()
    for name, (extras, kept) in CHAIN.items():
        words = [uv, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11", "--generate-hashes"]
        words += ["--no-emit-index-url", "--no-header", *(["--upgrade"] if upgrade else [])]
        words += [word for extra in extras for word in ("--extra", extra)]
        words += [word for lock in kept for word in ("-c", f"requirements/{lock}.lock")]
        words += ["pyproject.toml", "-o", f"requirements/{name}.lock"]
        if subprocess.run(words, cwd=ROOT, check=False).returncode:  # noqa: S603
            raise LockError(f"requirements/{name}.lock cannot be compiled (the reason is above)")


def find_uv() -> str:
    """The installer: the one on PATH, else the pinned one that bootstrapping has left in `.venv`."""
    own = ROOT / ".venv" / ".holdfast" / "uv" / "bin" / "uv"
    found = shutil.which("uv") or (str(own) if own.is_file() else "")
    if not found:
        raise LockError(f"uv is neither on PATH nor at {own.relative_to(ROOT)}: install it, at {_pinned(LOCKS)}")
    return found


def _pinned(locks: Path) -> str:
    return (locks / "uv.lock").read_text(encoding="utf-8").split()[0]
