"""The admin routes of replicas: what every target has in common, since services are asked over HTTP everywhere."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from chaos.targets.target import Replica, TargetError

_SECONDS = 3.0
_AT_ONCE = 16


class Admin:
    """Asks replicas as the operator does. `token` is read at each call: a stack may have got a new one."""

    def __init__(self, token: Callable[[], str]) -> None:
        self._token = token
        # asked now and then, for as long as a target lives, which nobody closes: no connection is kept
        self._client = httpx.Client(timeout=_SECONDS, trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def ask(self, replica: Replica, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer. Raises `TargetError` unless it is a success."""
        headers = {"authorization": f"Bearer {self._token()}"}
        try:
            response = self._client.request(method, replica.url + path, json=body, headers=headers)
        except httpx.HTTPError as error:
            raise TargetError(f"{replica.name}: {method} {path}: {type(error).__name__}") from error
        if not response.is_success:
            raise TargetError(f"{replica.name}: {method} {path}: HTTP {response.status_code} {response.text[:300]}")
        return response.json() if response.content else None

    def clear(self, replicas: Sequence[Replica]) -> list[str]:
        """End the faults in these replicas, all at once; returns what could not be reached.

        A replica that cannot be asked is down, paused or busy with its own fault: what is in it ends by itself.
        """

        def one(replica: Replica) -> str:
            problems = []
            for path in _undo(replica):
                try:
                    self.ask(replica, *path)
                except TargetError as error:
                    problems.append(str(error))
            return "; ".join(problems)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [problem for problem in pool.map(one, replicas) if problem]

    def faults(self, replicas: Sequence[Replica]) -> list[str]:
        """One line for each fault that acts in these replicas."""

        def one(replica: Replica) -> list[str]:
            try:
                listed = self.ask(replica, "GET", "/admin/faults")["faults"]
            except TargetError:
                return []
            return [f"{replica.name}: {fault['kind']}, {fault['seconds_left']:.0f} s left" for fault in listed]

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            return [line for lines in pool.map(one, replicas) for line in lines]


def _undo(replica: Replica) -> list[tuple[str, str, Mapping[str, Any] | None]]:
    undo: list[tuple[str, str, Mapping[str, Any] | None]] = [("DELETE", "/admin/faults", None)]
    if replica.service == "payment":
        undo.append(("PUT", "/admin/card-network", {}))
    return undo
