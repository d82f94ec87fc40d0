"""The platform as an operator sees it: programs, breakers, orders under way."""

import time
from collections.abc import Sequence
from fnmatch import fnmatch

import httpx

from chaos.definition import Recovery
from chaos.session import Session, current
from chaos.targets.target import TargetError

_EVERY_SECONDS = 0.25
_WINDOW_SECONDS = 3.0
_FRESH_SECONDS = 4.0
_ENOUGH_ORDERS = 5
_ASK_SECONDS = 3.0
# In the order in which orders pass them: who moves on between two questions is counted in the later one.
_UNFINISHED = ("RESERVING", "CHARGING", "PENDING_PAYMENT", "CONFIRMING", "CANCELLING")


def everything_runs() -> bool:
    """Every program that should run is ready."""
    return not current().target.unwell()


def no_fault_acts() -> bool:
    """Nobody else breaks anything at the moment."""
    return not current().target.faults()


def recovers() -> float:
    """Wait until the platform has recovered, as the experiment defines it.

    Returns:
        Seconds since the end of the fault.

    Raises:
        TimeoutError: not within the limit; says what is missing.
    """
    session = current()
    limits = session.definition.recovery
    lifted = session.recording.first("lift") or time.time()
    while True:
        missing = not_recovered(session, limits)
        took = time.time() - lifted
        if not missing:
            session.recording.mark(time.time(), "recovered", f"{took:.1f} s after the end of the fault")
            return took
        if took > limits.within_seconds:
            reason = f"not recovered {took:.0f} s after the end of the fault: {'; '.join(missing)}"
            session.recording.mark(time.time(), "unrecovered", reason)
            raise TimeoutError(reason)
        time.sleep(_EVERY_SECONDS)


def not_recovered(session: Session, limits: Recovery) -> list[str]:
    """What is missing, in words; empty when the platform has recovered."""
    missing = []
    lifted = session.recording.first("lift") or 0.0
    # What ended while the fault acted says nothing about recovery.
    seen = session.figures(min(_WINDOW_SECONDS, time.time() - lifted))
    if seen.success is None or seen.p99 is None or seen.orders < _ENOUGH_ORDERS:
        missing.append("hardly any orders have ended")
    elif seen.success < limits.success_at_least or seen.p99 > limits.p99_at_most_seconds:
        missing.append(f"{seen.success:.0%} served, p99 {seen.p99:.1f} s")
    missing += open_breakers(session, limits.breakers)
    if missing:
        return missing
    try:
        return list(session.target.unwell())
    except TargetError as error:
        return [str(error)]


def open_breakers(session: Session, names: Sequence[str]) -> list[str]:
    """Breakers that are not closed, by what each replica showed last, if that was lately."""
    now = time.time()
    return [
        f"{labels['name']} of {series.instance} is {labels['state']}"
        for series, points in list(session.recording.series.items())
        if series.name == "resilience4j_circuitbreaker_state"
        for labels in [dict(series.labels)]
        if labels.get("state") in ("open", "half_open", "forced_open")
        and any(fnmatch(labels["name"], name) for name in names)
        and points[-1][1] == 1
        and points[-1][0] > now - _FRESH_SECONDS
    ]


def settles(session: Session, within_seconds: float) -> float | None:
    """Wait until no order is under way; seconds that it took, None when some still are after `within_seconds`."""
    began = time.monotonic()
    while unfinished(session) != 0:
        if time.monotonic() - began > within_seconds:
            return None
        time.sleep(_EVERY_SECONDS)
    return time.monotonic() - began


def unfinished(session: Session) -> int | None:
    """Orders under way, up to some hundreds of them; None when the order service does not say.

    Asked of its list: its gauges may be seconds old, and would show orders that have ended, or none that wait.
    """
    found = 0
    try:
        with httpx.Client(base_url=session.target.addresses.edge, timeout=_ASK_SECONDS, trust_env=False) as client:
            for state in _UNFINISHED:
                answer = client.get("/orders", params={"state": state, "limit": 200}).raise_for_status()
                found += len(answer.json()["items"])
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return found
