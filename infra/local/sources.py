"""Reads `holdfast.toml` and the environment, and says where a wrong value stands."""

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from infra.local.errors import SettingsError
from infra.local.settings import PREFIX, ROOT, LocalSettings

CONFIG = ROOT / "holdfast.toml"


def load(file: Path = CONFIG, environ: Mapping[str, str] = os.environ, **overrides: Any) -> LocalSettings:
    """The settings in force.

    Args:
        file: the TOML file; it need not exist.
        environ: where to look for misspelt `HOLDFAST_*` names; values are always read from the process environment.
        overrides: win over both, for programs that start a stack of their own.

    Raises:
        SettingsError: one line for each wrong value: `holdfast.toml:7: replicas_payment: ...`, or the variable's name.
    """
    text, written = _read(file)
    _refuse_misspelt(environ)
    from_environment = {
        name.upper().removeprefix(PREFIX).lower()
        for name, value in environ.items()
        if name.upper().startswith(PREFIX) and value
    }
    from_file = {key: value for key, value in written.items() if key not in from_environment}
    try:
        return LocalSettings(**(from_file | overrides))
    except ValidationError as error:
        lines = []
        for detail in error.errors():
            key = str(detail["loc"][0]) if detail["loc"] else str(detail.get("ctx", {}).get("key", "settings"))
            reason = "no such setting" + _nearest(key) if detail["type"] == "extra_forbidden" else detail["msg"]
            got = "" if detail["type"] in ("together", "extra_forbidden") else f" (got {detail['input']!r})"
            lines.append(f"{_origin(key, file, text, from_file, from_environment, overrides)}: {reason}{got}")
        raise SettingsError("\n".join(lines)) from None


def _read(file: Path) -> tuple[str, dict[str, Any]]:
    if not file.exists():
        return "", {}
    text = file.read_text(encoding="utf-8")
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+)", str(error))
        line = found[1] if found else len(text.splitlines())
        raise SettingsError(f"{file.name}:{line}: not valid TOML: {error}") from None


def _refuse_misspelt(environ: Mapping[str, str]) -> None:
    known = [PREFIX + key.upper() for key in LocalSettings.model_fields]
    for name in environ:
        if not name.startswith(PREFIX) or name in known:
            continue
        # Other tools may have variables with this prefix; only what looks like a slip of the pen is refused.
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
        if near:
            raise SettingsError(f"{name}: no such setting; did you mean {near[0]}?")


def _nearest(key: str) -> str:
    near = difflib.get_close_matches(key, LocalSettings.model_fields, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _origin(
    key: str, file: Path, text: str, from_file: dict[str, Any], from_environment: set[str], overrides: dict[str, Any]
) -> str:
    if key in overrides:
        return key
    if key in from_environment:
        return PREFIX + key.upper()
    if key in from_file:
        return f"{file.name}:{_line_of(key, text)}: {key}"
    return key


def _line_of(key: str, text: str) -> int:
    pattern = re.compile(rf"""\s*(\[\s*)?["']?{re.escape(key)}["']?\s*[=.\]]""")
    for number, line in enumerate(text.splitlines(), start=1):
        if pattern.match(line):
            return number
    return 1
