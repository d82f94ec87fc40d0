"""Lab 6: no fallback, so that payment's trouble is the shop's; then the outbox, and money that moves once."""

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from infra.local.settings import ROOT
from workshop.lab import Lab, Note
from workshop.platform import Platform, Trouble, waited
from workshop.probes import broken_payment

_AUDIT_SECONDS, _SETTLE_SECONDS = 60.0, 40.0
_UNDER_WAY = ("PENDING_PAYMENT", "CHARGING", "RESERVING", "CONFIRMING", "CANCELLING")


def _begin(at: Platform) -> None:
    at.switch("payment.process", fallback=False)


def _check(at: Platform, note: Note, _answer: str) -> str:
    refused = note.grown(at, "order", "orders_total", status="503")
    if not refused:
        raise LAB.not_yet("No customer has heard 503 since the lab began: take payment away and order.", "see-it")
    off = [each for each in at.pipelines("payment.process") if not each["layers"]["fallback"]]
    if off:
        raise LAB.not_yet(f"The fallback of payment.process is still off in {len(off)} replica(s).", "mend-it")
    orders = at.orders_since(note.began)
    waiting = [each for each in orders if each["state"] in _UNDER_WAY]
    if waiting:
        raise LAB.not_yet(f"{len(waiting)} orders are still under way, {waiting[0]['id']} among them.", "settled")
    settled = [each["id"] for each in orders if each["state"] == "CONFIRMED" and _was_pending(at, each)]
    if not settled:
        raise LAB.not_yet("No order since then waited for its payment and was confirmed afterwards.", "settled")
    code, said = _audited(at)
    if code:
        raise LAB.not_yet(f"The auditor does not agree: {said}", "the-books")
    return f"{len(settled)} orders were taken without payment and settled later; the auditor: {said}."


def _was_pending(at: Platform, order: Mapping[str, Any]) -> bool:
    history = at.get(at.stack.url("order"), f"/orders/{order['id']}")["history"]
    return any(step["state"] == "PENDING_PAYMENT" for step in history)


def _audited(at: Platform) -> tuple[int, str]:
    """The auditor's exit code and its last line."""
    words = [sys.executable, "-m", "infra.audit"]
    try:
        done = subprocess.run(  # noqa: S603 - our own module
            words, env=at.environment(), cwd=ROOT, capture_output=True, text=True, timeout=_AUDIT_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Trouble(f"The auditor took more than {_AUDIT_SECONDS:.0f} s.") from error
    lines = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
    return done.returncode, lines[-1]


def _see(at: Platform, _note: Note) -> None:
    with broken_payment(at, status=500):
        at.place()


def _mend(at: Platform, note: Note) -> str:
    with broken_payment(at, status=500):
        at.switch("payment.process", fallback=True)
        at.place_many(3, 3)
    waited(lambda: not [each for each in at.orders_since(note.began) if each["state"] in _UNDER_WAY], _SETTLE_SECONDS)
    return ""


LAB = Lab(
    number=6,
    title="Fallback, outbox and exactly-once money",
    page="06-fallback.md",
    minutes=30,
    scene="The fallback of the charge is switched off. Take payment away, and the shop is closed.",
    hints=(
        "make fault KIND=stop PROGRAM=payment SECONDS=60, the same for payment-v2, and place an order: 503.",
        'PATCH /admin/resilience/payment.process with {"layers": {"fallback": true}}.',
        "Order again while payment is away: 202. Then give it back, and wait until no order is PENDING_PAYMENT.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("order", "orders_total"),),
)
