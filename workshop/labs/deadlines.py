"""Lab 7: a caller who waits two seconds, and a charge that may take two and a half."""

from workshop import policies
from workshop.lab import Lab, Note
from workshop.platform import Platform
from workshop.probes import best, broken_payment

_PATIENCE_MS, _HANGS_MS, _SLOW_MS = 2_000, 2_700, 250
_FITS = "    deadline: 1200ms\n    timeout: {duration: 500ms}\n"


def _begin(at: Platform) -> None:
    at.use_policy(policies.trees())


def _check(at: Platform, note: Note, _answer: str) -> str:
    late = note.grown(at, "order", "http_requests_total", handler="/orders", status="504")
    if not late:
        raise LAB.not_yet("No order has ended with 504 since the lab began: order with x-deadline-ms.", "see-it")
    patience = {"x_deadline_ms": str(_PATIENCE_MS)}
    with broken_payment(at, latency_ms=_HANGS_MS):
        hung = best(at, 3, lambda placed: placed.status in (201, 202), **patience)
    if hung.status not in (201, 202):
        raise LAB.not_yet(
            f"While charges hang, a caller with {_PATIENCE_MS} ms hears {hung.status} after {hung.seconds:.1f} s: "
            "no time was left for the fallback.",
            "mend-it",
        )
    with broken_payment(at, latency_ms=_SLOW_MS):
        slow = best(at, 4, lambda placed: placed.status == 201, **patience)
    if slow.status != 201:
        raise LAB.not_yet(f"A charge of {_SLOW_MS} ms is healthy, and is given up: {slow.status}.", "the-trap")
    return (
        f"A caller with {_PATIENCE_MS} ms hears {hung.status} after {hung.seconds:.1f} s; {late:.0f} heard 504 before."
    )


def _see(at: Platform, _note: Note) -> None:
    with broken_payment(at, latency_ms=_HANGS_MS):
        at.reset_breakers()
        at.place(headers={"x-deadline-ms": "1000"})


def _mend(at: Platform, _note: Note) -> str:
    limits = "    deadline: 2500ms\n    timeout: {duration: 800ms}\n"
    at.use_policy(policies.changed((policies.CHARGE, policies.CHARGE.replace(limits, _FITS))))
    return ""


LAB = Lab(
    number=7,
    title="Deadlines",
    page="07-deadlines.md",
    minutes=20,
    scene="A new app gives each order two seconds (x-deadline-ms: 2000). The charge may take two and a half.",
    hints=(
        "curl -i -H 'x-deadline-ms: 2000' while charges are slow: 504, and the order goes on without anybody waiting.",
        "The fallback answers when the call's own deadline ends, if the caller's has not ended before it.",
        "In payment.process: deadline: 1200ms, timeout: {duration: 500ms}. The rest is for stock and answer.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("order", "http_requests_total"),),
)
