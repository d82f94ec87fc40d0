"""A `docker` that is a script of ours, so that no test ever talks to an engine."""

import json
import os
import stat
from pathlib import Path

_SCRIPT = r"""#!/bin/sh
# Writes down what it is asked, then answers from the folder beside it: a file named for the first words.
here=$(dirname "$0")
echo "$*" >>"$here/asked"
words=$(echo "$1-$2" | tr -c 'a-z\n-' _)
for name in "$words" "$1"; do
    [ ! -e "$here/$name.slow" ] || exec sleep 30
    if [ -e "$here/$name.out" ]; then cat "$here/$name.out"; exit 0; fi
    if [ -e "$here/$name.err" ]; then cat "$here/$name.err" >&2; exit 1; fi
done
echo "docker: nobody prepared an answer to: $*" >&2
exit 125
"""


class FakeDocker:
    """A folder for PATH that holds `docker` and nothing else of the kind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        program = directory / "docker"
        program.write_text(_SCRIPT, encoding="utf-8")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)

    @property
    def environ(self) -> dict[str, str]:
        """An environment in which no other docker can be found."""
        tools = self.directory / "tools"
        tools.mkdir(exist_ok=True)
        for name in ("sh", "dirname", "tr", "cat", "sleep", "echo"):
            if not (tools / name).exists():
                found = next(Path(folder) / name for folder in os.defpath.split(":") if (Path(folder) / name).exists())
                (tools / name).symlink_to(found)
        return {"PATH": f"{self.directory}:{tools}", "DOCKER_HOST": "unix:///nonexistent"}

    def answers(self, words: str, text: str = "") -> None:
        """From now on it succeeds when it is asked for `words` (the first or the first two, joined with a hyphen)."""
        (self.directory / f"{words}.err").unlink(missing_ok=True)
        (self.directory / f"{words}.out").write_text(text, encoding="utf-8")

    def refuses(self, words: str, text: str) -> None:
        """From now on it fails with that message."""
        (self.directory / f"{words}.out").unlink(missing_ok=True)
        (self.directory / f"{words}.err").write_text(text, encoding="utf-8")

    def hangs(self, words: str) -> None:
        """From now on it does not answer in time."""
        (self.directory / f"{words}.slow").touch()

    def asked(self) -> list[str]:
        """Every command line so far."""
        record = self.directory / "asked"
        return record.read_text(encoding="utf-8").splitlines() if record.exists() else []

    def with_compose(self, *, images_here: bool) -> None:
        """An engine that answers, with compose 2, and with or without the images of others."""
        self.answers("info", "28.0.0\n")
        services = {"order": {"image": "holdfast/order:0.1.0"}, "nats": {"image": "nats:2.15.0-alpine"}}
        self.answers("compose", json.dumps({"services": services}))
        if images_here:
            self.answers("image-inspect", "sha256:0\n")
        else:
            self.refuses("image-inspect", "No such image")
