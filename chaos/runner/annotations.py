"""Tells dashboards when an experiment ran: a file that the control room reads, and Grafana where there is one."""

import json
import logging
import os
import time

import httpx

from chaos.targets.target import Target

logger = logging.getLogger("chaostoolkit")

FILE = "annotations.jsonl"
_MOST_BYTES = 1_000_000


def tell(target: Target, run: str, kind: str, text: str, since: float | None = None) -> None:
    """One annotation: at this moment, or from `since` (Unix seconds) until now. Whoever cannot be told is left out."""
    now = time.time()
    note = {"time": int((since or now) * 1000), "timeEnd": int(now * 1000), "tags": ["chaos", kind, run], "text": text}
    target.runs.mkdir(parents=True, exist_ok=True)
    path = target.runs / FILE
    if path.exists() and path.stat().st_size > _MOST_BYTES:
        path.replace(path.with_suffix(".old.jsonl"))
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")
    url = os.environ.get("GRAFANA_URL")
    if not url:
        return
    token = os.environ.get("GRAFANA_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        httpx.post(f"{url.rstrip('/')}/api/annotations", json=note, headers=headers, timeout=3).raise_for_status()
    except httpx.HTTPError as error:
        logger.warning("Grafana at %s was not told: %s", url, error)
