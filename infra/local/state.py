"""The state directory: where the stack keeps what it writes, and who may use it now."""

import contextlib
import fcntl
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.local.errors import StackError

MARKER = "HOLDFAST_STACK"
"""The variable that every process of a stack carries; its value is the stack's state directory."""

# sun_path holds 108 bytes with the closing zero; supervisord binds "<path>.<pid>" first and renames it.
LONGEST_SOCKET_PATH = 107 - len(".4194304")


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Paths under one stack's state directory."""

    path: Path

    @property
    def run(self) -> Path:
        """Generated configuration, the supervisor's socket, the lock."""
        return self.path / "run"

    @property
    def data(self) -> Path:
        """Databases and streams."""
        return self.path / "data"

    @property
    def logs(self) -> Path:
        """One file a program, rotated."""
        return self.path / "logs"

    @property
    def secrets(self) -> Path:
        """One directory a service."""
        return self.path / "secrets"

    @property
    def faults(self) -> Path:
        """One file a fault on purpose that is not over."""
        return self.path / "faults"

    @property
    def tag(self) -> Path:
        """The file that proves that a directory is a stack's: nothing is deleted where it is missing."""
        return self.path / "holdfast-stack"

    def create(self) -> None:
        """Make the directories that are missing.

        Raises:
            StackError: the path exists and is not a stack's, or cannot be written.
        """
        strange = [each for each in (self.run, self.data, self.logs, self.secrets) if each.exists()]
        if strange and not self.tag.exists():
            # `reset` deletes these directories: they must be ours from the beginning.
            raise StackError(
                f"{strange[0]} exists and was not made by a stack.", "Choose another state_dir, or move it away."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.tag.touch()
            for directory in (self.run, self.data, self.logs, self.secrets):
                directory.mkdir(mode=0o700, exist_ok=True)
                # Others may pass `data` when another user's Postgres lives there, but never more.
                directory.chmod(stat.S_IMODE(directory.stat().st_mode) & (0o701 if directory == self.data else 0o700))
            if self.socket().parent != self.run:
                self._make_short_directory()
        except OSError as error:
            raise StackError(
                f"The state directory {self.path} cannot be used: {error.strerror}.", "Choose another with state_dir."
            ) from error

    def socket(self) -> Path:
        """Where the supervisor listens: under `run`, or in a short private directory when that path is too long.

        Raises:
            StackError: the short directory is not ours alone.
        """
        own = self.run / "supervisor.sock"
        if len(os.fsencode(own)) <= LONGEST_SOCKET_PATH:
            return own
        directory = self._short_directory()
        if directory.is_symlink() or directory.exists():
            _require_private(directory)
        return directory / own.name

    def remove_socket(self) -> None:
        """Take away the socket of a supervisor that has ended, and the short directory if there is one."""
        socket = self.socket()
        for left in (socket, socket.with_name("envoy.sock")):
            left.unlink(missing_ok=True)
        if socket.parent != self.run:
            with contextlib.suppress(FileNotFoundError):
                socket.parent.rmdir()
            self._short_directory_note.unlink(missing_ok=True)

    @property
    def _short_directory_note(self) -> Path:
        return self.run / "socket-directory"

    def _short_directory(self) -> Path:
        # Written down at the start: a later command may run without the XDG_RUNTIME_DIR or TMPDIR of the first.
        if self._short_directory_note.exists():
            return Path(self._short_directory_note.read_text(encoding="utf-8"))
        return _short_directory_for(self.path)

    def _make_short_directory(self) -> None:
        directory = self._short_directory()
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        _require_private(directory)
        self._short_directory_note.write_text(str(directory), encoding="utf-8")

    @contextlib.contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Hold the directory for one command that changes the stack.

        Raises:
            StackError: another command holds it; the message names it and its process id.
        """
        self.create()
        with (self.run / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "another command"
                raise StackError(
                    f"{holder} is at work on the stack in {self.path}.",
                    "Wait for it; or use another folder for a second stack: state_dir, with other ports.",
                ) from None
            file.seek(0)
            file.truncate()
            file.write(f"'{command}' (pid {os.getpid()})")
            file.flush()
            yield


def _short_directory_for(state: Path) -> Path:
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    if not base.is_dir() or len(os.fsencode(base)) > 50:
        base = Path(tempfile.gettempdir())
        if len(os.fsencode(base)) > 50:
            base = Path("/tmp")  # noqa: S108 - the directory in it is made 0700 and its owner is checked
    name = hashlib.sha256(os.fsencode(state)).hexdigest()[:16]
    return base / f"holdfast-{os.getuid()}-{name}"


def _require_private(directory: Path) -> None:
    found = directory.lstat()
    # Anyone may make names in a shared directory: trust only a real directory of our own that nobody else can enter.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StackError(
            f"{directory} belongs to somebody else or is open to others.",
            "Remove it, or choose a shorter state_dir.",
        )
