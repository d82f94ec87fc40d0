"""The places where experiments run: local, compose or kubernetes, as `CHAOS_TARGET` says; else the stack that was
started last."""

import os

from chaos.targets.target import Target, TargetError

PLACES = ("local", "compose", "kubernetes")


def place(name: str | None = None) -> str:
    """The place that is meant: that name, else `CHAOS_TARGET`, else the stack that `make up` started last.

    Raises:
        TargetError: there is none of that name.
    """
    name = name or os.environ.get("CHAOS_TARGET") or _started()
    if name not in PLACES:
        raise TargetError(f"CHAOS_TARGET={name}: there are {', '.join(PLACES)}.")
    return name


def chosen(name: str | None = None) -> Target:
    """The target at that place.

    Raises:
        TargetError: there is none of that name, or it does not run.
    """
    # Each needs packages and programs of its own.
    where = place(name)
    if where == "local":
        from chaos.targets.local import Local

        return Local()
    if where == "compose":
        from chaos.targets.compose import Compose

        return Compose()
    from chaos.targets.kubernetes import Kubernetes

    return Kubernetes()


def _started() -> str:
    from infra.local import sources
    from infra.local.errors import StackError
    from infra.stack.choice import Remembered

    try:
        return Remembered(sources.load()).read() or "local"
    except StackError as error:
        raise TargetError(str(error)) from error
