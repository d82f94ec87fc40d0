"""Which stack: containers when they can be had, processes otherwise."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from infra.compose.engine import Engine
from infra.compose.stack import ComposeStack
from infra.local.errors import StackError
from infra.local.settings import LocalSettings
from infra.local.stack import LocalStack

Name = Literal["local", "compose"]
NAMES: tuple[Name, ...] = ("local", "compose")


@dataclass(frozen=True, slots=True)
class Choice:
    """A stack, and why it is this one: a few words that follow a colon."""

    stack: Name
    why: str


class Remembered:
    """Which stack was started last in a state directory, so that `down`, `status` and the others find it."""

    def __init__(self, settings: LocalSettings) -> None:
        self._file = settings.state / "stack"

    def read(self) -> Name | None:
        """The stack that was started and not stopped since."""
        text = self._file.read_text(encoding="utf-8").strip() if self._file.exists() else ""
        return next((name for name in NAMES if name == text), None)

    def write(self, stack: Name) -> None:
        """Remember it."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(stack, encoding="utf-8")

    def forget(self) -> None:
        """It was stopped."""
        self._file.unlink(missing_ok=True)


def to_start(wanted: str, settings: LocalSettings, find: Callable[[], tuple[Engine | None, str]]) -> Choice:
    """Choose the stack that `up` starts.

    Args:
        wanted: `local`, `compose`, or `auto`.
        find: looks for a container engine; not called when the answer does not depend on one.

    Raises:
        StackError: the one that is wanted cannot run here, or the other one runs.
    """
    running = _running(settings, find)
    if wanted not in ("auto", *NAMES):
        raise StackError(f"STACK={wanted}: there are auto, local and compose.")
    if running and wanted in ("auto", running):
        return Choice(running, "it runs already")
    if running:
        raise StackError(f"The stack '{running}' runs, on the same ports.", "Stop it first: make down")
    if wanted == "local":
        return Choice("local", "as STACK says")
    engine, why_not = find()
    if wanted == "compose":
        if engine is None:
            raise StackError(f"STACK=compose: {why_not}.", "Start the engine, or: make up STACK=local")
        return Choice("compose", "as STACK says")
    return _automatic(settings, engine, why_not)


def _automatic(settings: LocalSettings, engine: Engine | None, why_not: str) -> Choice:
    if engine is None:
        return Choice("local", why_not)
    missing = [image for image in ComposeStack(settings, engine).outside_images() if not engine.has_image(image)]
    # One stands for all: what matters is whether a registry answers at all.
    if missing and (refused := engine.could_pull(missing[0])):
        return Choice("local", f"a container engine answers, but the image {missing[0]} cannot be had ({refused})")
    return Choice("compose", f"a container engine answers, with {' '.join(engine.compose)}")


def _running(settings: LocalSettings, find: Callable[[], tuple[Engine | None, str]]) -> Name | None:
    if LocalStack(settings).running():
        return "local"
    if Remembered(settings).read() == "compose":
        engine, _ = find()
        if engine is not None and any(each.state == "running" for each in ComposeStack(settings, engine).status()):
            return "compose"
    return None
