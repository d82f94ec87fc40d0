"""The places where experiments run, chosen by `CHAOS_TARGET`: local (default), compose or kubernetes."""

import os

from chaos.targets.target import Target, TargetError

PLACES = ("local", "compose", "kubernetes")


def chosen(name: str | None = None) -> Target:
    """The target of that name, or of `CHAOS_TARGET`.

    Raises:
        TargetError: there is none of that name, or it does not run.
    """
    name = name or os.environ.get("CHAOS_TARGET") or "local"
    # Each needs packages and programs of its own.
    if name == "local":
        from chaos.targets.local import Local

        return Local()
    if name == "compose":
        from chaos.targets.compose import Compose

        return Compose()
    if name == "kubernetes":
        from chaos.targets.kubernetes import Kubernetes

        return Kubernetes()
    raise TargetError(f"CHAOS_TARGET={name}: there are {', '.join(PLACES)}.")
