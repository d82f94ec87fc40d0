"""Lab 8: application and mesh both retry, and multiply."""

from workshop.lab import Lab, Note
from workshop.platform import Platform, Trouble
from workshop.probes import broken_payment, storm

_ORDERS, _MOST, _SEEN = 20, 1.6, 10
_BUDGET = "/admin/resilience/budgets/payment"


def _begin(at: Platform) -> None:
    if not at.has_mesh:
        raise Trouble("This lab is about the mesh: make restart MESH=envoy")
    at.mesh_retries(on=True)
    at.switch("payment.process", circuit_breaker=False)
    at.ask_all("order", "PATCH", _BUDGET, {"enforced": False})


def _check(at: Platform, note: Note, _answer: str) -> str:
    seen = note.grown(at, "order", "resilience_retry_attempts_total", name="payment.process")
    if seen < _SEEN:
        raise LAB.not_yet(
            f"The application has retried {seen:.0f} charges since then: see it multiply first.", "see-it"
        )
    if at.mesh_repeats():
        raise LAB.not_yet("The mesh still repeats charges: it knows neither budget nor key nor deadline.", "mend-it")
    if not all(each["layers"]["retry"] for each in at.pipelines("payment.process")):
        raise LAB.not_yet("Now nobody retries: the application's retry is off.", "the-trap")
    if not all(each["enforced"] for each in at.ask_all("order", "GET", _BUDGET)):
        raise LAB.not_yet(
            "The budget of payment is not enforced: the application may still retry without end.", "mend-it"
        )
    seen_now = storm(at, _ORDERS)
    charges = max(seen_now.tried, seen_now.arrived)
    if charges > _MOST:
        raise LAB.not_yet(
            f"While payment fails, each order reaches it {charges:.1f} times; at most {_MOST:g}.", "mend-it"
        )
    return f"{charges:.2f} charges an order while payment fails, and only one layer retries."


def _see(at: Platform, _note: Note) -> None:
    with broken_payment(at, status=500):
        at.place_many(6, 3)


def _mend(at: Platform, _note: Note) -> str:
    at.mesh_retries(on=False)
    at.ask_all("order", "PATCH", _BUDGET, {"enforced": True})
    return ""


LAB = Lab(
    number=8,
    title="Mesh or library",
    page="08-mesh-or-library.md",
    minutes=20,
    scene="The mesh repeats charges now, and so does the application, without a budget.",
    hints=(
        "Let payment fail and count what reaches it: three tries of the application, three of the mesh for each.",
        "Who knows the key, the budget and how much time is left? That layer may retry.",
        '.venv/bin/python -m workshop mesh-retries off; and the budget: PATCH {"enforced": true}.',
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("order", "resilience_retry_attempts_total"),),
)
