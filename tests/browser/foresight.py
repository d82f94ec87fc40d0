"""A predictor that is told what to say, and the real remediator on the real stack, its minutes shortened."""

import contextlib
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from infra.local import prediction
from infra.local.stack import LocalStack

_MINUTE = 4.0
_POLICY = {
    "persistence": {"k": 1, "n": 1}, "control_share": 0, "stale_minutes": 30, "cooldown_minutes": 1000,
    "blast_radius": {"most_replicas": {"inventory": 2}}, "verification": {"after_minutes": 1},
    "approval_minutes": 1000, "give_back_minutes": 0, "remedies": [{"signals": [], "actions": ["scale"]}],
}  # fmt: skip
"""One more replica of inventory is all that may be done, once, and it is looked at after a minute whether it helped."""

_MODEL = {
    "name": "told", "created": "2026-01-01T00:00:00+00:00", "sha256": "5b0c1f0e9a77" + "0" * 52, "threshold": 0.4,
    "persistence": [3, 5], "history_minutes": 30, "features": 147, "dataset": {},
    "metrics": {"event_recall": {"gradual": {"value": 0.71, "low": 0.5, "high": 0.9}}},
    "calibration_error": 0.03, "drift": {"cpu.level": 0.4, "memory.level": 0.1},
}  # fmt: skip


def _prediction(service: str, warned: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "service": service, "at": datetime.now(UTC).isoformat(), "state": "quiet", "probability": 0.02,
        "threshold": 0.4, "horizon_minutes": [10, 30], "why": "", "reasons": [], "missing": [], "model": "5b0c1f0e9a77",
    }  # fmt: skip
    if service == warned:
        words = "memory 71 % of its limit, +1.1 % a minute, full in 26 minutes"
        told |= {
            "state": "warning",
            "probability": 0.83,
            "reasons": [{"signal": "memory", "words": words, "weight": 2.9}],
        }
    return told


@contextlib.contextmanager
def warned_of(stack: LocalStack, service: str) -> Iterator[None]:
    """A predictor where the stack's would be, which warns of one service again and again."""

    class Answers(BaseHTTPRequestHandler):
        """As docs/prediction.md has it."""

        def do_GET(self) -> None:
            told = {"predictions": [_prediction(each, service) for each in ("order", "payment", "inventory")]}
            answers = {"/predictions": told, "/model": _MODEL}
            body = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", stack.settings.port_predictor), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@contextlib.contextmanager
def remediating(stack: LocalStack, directory: Path) -> Iterator[None]:
    """`make remediate MODE=approve` on this stack, with a minute of a few seconds."""
    policy = directory / "policy.yaml"
    policy.write_text(yaml.safe_dump(_POLICY))
    chosen = {"remediation": "approve", "remediation_policy": str(policy), "minute_seconds": _MINUTE}
    settings = stack.settings.model_copy(update=chosen)
    environment = os.environ | prediction.environment(prediction.REMEDIATION, settings, stack.state)
    with (directory / "remediation.log").open("wb") as log:
        command = prediction.remediation(settings, stack.state)
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)
