"""Lab 9: a bad replica, which the mesh throws out, and a bad version, which somebody has to take back."""

import contextlib

from infra.local.errors import StackError
from workshop.lab import Lab, Note
from workshop.platform import Platform, Trouble, waited

_EJECTIONS = "envoy_cluster_outlier_detection_ejections_enforced_total"
_FAULT_SECONDS, _EJECT_SECONDS, _READY_SECONDS, _PROBES = 600, 30.0, 60.0, 20


def _begin(at: Platform) -> None:
    if not at.has_mesh:
        raise Trouble("This lab is about the mesh: make restart MESH=envoy")
    for service, least in (("payment", 2), ("payment-v2", 1)):
        if len(at.replicas_of(service)) < least:
            at.stack.scale(service, least)
    for replica in ("payment-2", "payment-v2-1"):
        fault = {"kind": "http", "path": "/process", "status": 500, "seconds": _FAULT_SECONDS, "experiment": "lab-9"}
        at.ask(at.stack.url(replica), "POST", "/admin/faults", fault)


def _check(at: Platform, note: Note, _answer: str) -> str:
    ejected = note.grown(at, "mesh", _EJECTIONS)
    if not ejected:
        raise LAB.not_yet("The mesh has ejected nobody since the lab began: it needs a load to see.", "see-it")
    canaries = at.replicas_of("payment-v2")
    if canaries:
        raise LAB.not_yet(f"{', '.join(canaries)} still gets a tenth of the charges.", "take-the-canary-back")
    for name, url in at.replicas_of("payment").items():
        if at.ask(url, "GET", "/admin/faults")["faults"]:
            raise LAB.not_yet(f"{name} still fails its charges; the mesh only keeps it out for a while.", "the-trap")
    answers: list[str] = []

    def well() -> bool:
        answers[:] = [at.payment_version() for _ in range(_PROBES)]
        return set(answers) == {"v1"}

    if not waited(well):  # a replica that has just started is in the mesh again after a moment
        wrong = _PROBES - answers.count("v1")
        raise LAB.not_yet(f"Of {_PROBES} requests to payment {wrong} are not answered by v1.", "take-the-canary-back")
    return f"{ejected:.0f} ejections; the canary is taken back, and {_PROBES} of {_PROBES} requests are answered by v1."


def _see(at: Platform, note: Note) -> None:
    def ejected() -> bool:
        at.place_many(10, 5)
        return note.grown(at, "mesh", _EJECTIONS) > 0

    waited(ejected, _EJECT_SECONDS)


def _mend(at: Platform, _note: Note) -> str:
    # Its replicas are stopped by then; what scale complains of is that an ejected payment-2 gets no requests.
    with contextlib.suppress(StackError):
        at.stack.scale("payment-v2", 0)
    at.stack.kill("payment-2")  # its supervisor starts it again, without the fault
    at.stack.wait_ready("payment-2", seconds=_READY_SECONDS)
    return ""


LAB = Lab(
    number=9,
    title="Canary and outlier ejection",
    page="09-canary.md",
    minutes=25,
    scene="Payment has two replicas and a canary (v2, a tenth of the charges). One replica and the canary are bad.",
    hints=(
        "make load, then the ejections at localhost:9902/stats/prometheus, and make logs SERVICE=payment-v2.",
        "Ejection ends by itself after 10 s, and the only replica of a version is never ejected.",
        "make scale SERVICE=payment-v2 N=0 takes the canary back, make kill SERVICE=payment-2 heals the replica.",
    ),
    begin=_begin,
    check=_check,
    see=_see,
    mend=_mend,
    counters=(("mesh", _EJECTIONS),),
)
