"""The ends of faults in containers: each is written down before its fault, and a process of its own waits for it.

    python -m chaos.targets.ends .local/compose/faults stop-1a2b3c

Neither Ctrl-C nor the end of who began a fault reaches that process; and whoever comes, `make chaos-stop` for one, can
end every fault that is written down.
"""

import contextlib
import fcntl
import secrets
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from chaos.targets.docker import Docker
from chaos.targets.target import TargetError
from infra.envoy.admin import Admin, AdminError
from infra.local.leases import LONGEST_SECONDS, MESH, PAUSE, STOP, Lease, Leases

ROOT = Path(__file__).resolve().parents[2]
STOP_SECONDS = 10
"""What a container gets to stop by itself."""

_WATCHDOG = 'sleep "$1" && shift && exec "$@"'
_PATIENCE_SECONDS, _AGAIN_SECONDS = 60.0, 1.0


class Ends:
    """The faults of one stack that are not over: files in a directory."""

    def __init__(self, directory: Path, docker: Docker) -> None:
        self._directory, self._docker = directory, docker
        self._leases = Leases(directory)

    def active(self) -> list[Lease]:
        """What is not over."""
        return self._leases.all()

    @contextlib.contextmanager
    def begin(self, kind: str, target: str, seconds: float, **more: Any) -> Iterator[None]:
        """Put a fault in inside of this: its end is on its way. One that cannot be put in is taken back.

        Raises:
            TargetError: the target has a fault already, or it would last too long.
        """
        if not 0 < seconds <= LONGEST_SECONDS:
            raise TargetError(f"{target}: a fault lasts at most {LONGEST_SECONDS:.0f} s, not {seconds:g} s.")
        lease = Lease(f"{kind}-{secrets.token_hex(3)}", kind, target, time.time() + seconds, **more)
        with self._alone():
            taken = next((each for each in self._leases.all() if each.target == target), None)
            if taken:
                raise TargetError(f"{target} has a fault already: {taken.id}. End it first: make chaos-stop")
            self._leases.write(lease)
        self._watch(lease, seconds)
        try:
            yield
        except TargetError:
            self.end([lease.id])
            raise

    def end(self, only: Collection[str] | None = None) -> list[str]:
        """End these (all when left out); returns why some could not be ended: their watchdogs try again."""
        failures: list[str] = []
        if not self._directory.is_dir():
            return failures
        with self._alone():
            for lease in self._leases.all():
                if only is not None and lease.id not in only:
                    continue
                try:
                    self._undo(lease)
                except (TargetError, AdminError) as error:
                    failures.append(f"{lease.id}: {error}")
                else:
                    self._leases.remove(lease)
        return failures

    def _undo(self, lease: Lease) -> None:
        found = self._docker.container(lease.container)
        if found is None:
            return
        state = found["State"]
        if lease.kind == PAUSE and state.get("Paused"):
            self._docker.run("unpause", lease.container)
        if lease.kind == STOP:
            if state["Running"]:
                # It still stops: to start it now does nothing.
                self._docker.run("stop", "--time", str(STOP_SECONDS), lease.container)
            self._docker.run("start", lease.container)
        # What was set is in Envoy's memory.
        if lease.kind == MESH and state["Running"]:
            Admin(Path(lease.socket)).modify_runtime(dict.fromkeys(lease.keys, ""))

    def _watch(self, lease: Lease, seconds: float) -> None:
        ends = [sys.executable, "-m", "chaos.targets.ends", str(self._directory.resolve()), lease.id]
        subprocess.Popen(  # noqa: S603 - our own words
            ["/bin/sh", "-c", _WATCHDOG, "watchdog", f"{seconds:g}", *ends], cwd=ROOT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Two who end the same fault at once would stop what the other has just started."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self._directory / "lock").open("a", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def main(words: Sequence[str]) -> int:
    """End one fault, unless somebody has; what cannot be ended now is tried again for a minute."""
    directory, identity = words
    ends = Ends(Path(directory), Docker())
    give_up = time.monotonic() + _PATIENCE_SECONDS
    while failures := ends.end([identity]):
        if time.monotonic() > give_up:
            sys.stderr.write("\n".join(failures) + "\n")
            return 1
        time.sleep(_AGAIN_SECONDS)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
