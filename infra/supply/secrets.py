"""Secrets in files: keys and tokens by their shape, and values that look random under names that sound secret."""

import math
import re
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.supply.locks import ROOT

_LARGEST = 2_000_000
# hashes of what is installed, and public halves of keys
_PUBLIC = frozenset({".lock", ".pub"})
_LEAST_ENTROPY = 3.3
"""Bits a character: words have less, 20 and more random characters of base64 or hex have more."""

# Shapes as the issuers document them. A match is a secret, whatever it is called.
SHAPES: dict[str, re.Pattern[str]] = {
    name: re.compile(pattern)
    for name, pattern in {
        "private key": r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----",
        "AWS access key": r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b",
        "Google API key": r"\bAIza[\w-]{35}\b",
        "GitHub token": r"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{60,})",
        "GitLab token": r"\bglpat-[\w-]{20,}",
        "Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
        "Stripe key": r"\b[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",
        "package index token": r"\b(?:pypi-AgE[\w-]{50,}|npm_[A-Za-z0-9]{36})",
        "age key": r"\bAGE-SECRET-KEY-1[A-Z0-9]{58}",
        "JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,}",
        "password in a URL": r"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'`<>${}]+:(?P<value>[^\s/:@\"'`<>${}]+)@",
    }.items()
}
_NAMED = re.compile(
    r"(?i)(?:password|passwd|secret|token|api_?key|signing_?key|private_?key|_key)\b[\"']?\s*(?::[^=\"'\n]{0,20})?"
    r"[:=]\s*(?:SecretStr\()?[\"']?(?P<value>[A-Za-z0-9+/_=-]{20,})"
)
# 32 bytes and more, as our own keys are written, on a line of their own: a file of .local/secrets that was committed.
_ALONE = re.compile(r"^(?P<value>[A-Za-z0-9+/_-]{43}=?|[0-9a-f]{64})$", re.MULTILINE)

# What tests and pages write where a secret would stand, to show that it is masked or where it goes.
_STAND_INS = frozenset({"hunter2", "hunter22", "password", "s3cret", "s3cret-word", "secret"})


@dataclass(frozen=True, slots=True, order=True)
class Hit:
    """Something that looks like a secret; the text shows its beginning only."""

    path: str
    line: int
    kind: str
    begins: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.kind}: {self.begins}..."


def tracked(root: Path) -> list[Path]:
    """The files that are committed or about to be; those of the tree where there is no Git."""
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(words, cwd=root, capture_output=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        found = [path for path in root.rglob("*") if not {".venv", ".local", ".git"} & {*path.relative_to(root).parts}]
    else:
        found = [root / name for name in done.stdout.decode().split("\0") if name]
    return [path for path in found if path.is_file() and not path.is_symlink()]


def scan(paths: Iterable[Path], root: Path = ROOT) -> list[Hit]:
    """What looks like a secret in these files. What is not text is left out."""
    hits: list[Hit] = []
    for path in paths:
        if path.suffix in _PUBLIC or path.stat().st_size > _LARGEST:
            continue
        content = path.read_bytes()
        if b"\0" not in content:
            text = content.decode("utf-8", "replace")
            hits += [Hit(str(path.relative_to(root)), *found) for found in in_text(text)]
    return sorted(set(hits))


def in_text(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, kind and beginning of everything in a text that looks like a secret."""
    for kind, match in _matches(text):
        value = match.groupdict().get("value") or match[0]
        if value not in _STAND_INS:
            yield text.count("\n", 0, match.start()) + 1, kind, value[:6]


def _matches(text: str) -> Iterator[tuple[str, re.Match[str]]]:
    for kind, shape in SHAPES.items():
        for match in shape.finditer(text):
            if kind != "password in a URL" or entropy(match["value"]) > 2:
                yield kind, match
    for kind, shape in (("value of a secret name", _NAMED), ("key on a line of its own", _ALONE)):
        yield from ((kind, match) for match in shape.finditer(text) if _looks_random(match["value"]))


def _looks_random(value: str) -> bool:
    return bool(re.search(r"\d", value)) and bool(re.search(r"[A-Za-z]", value)) and entropy(value) > _LEAST_ENTROPY


def entropy(text: str) -> float:
    """Bits a character, by how often each occurs in `text` itself (Shannon)."""
    return -sum(n / len(text) * math.log2(n / len(text)) for n in Counter(text).values())
