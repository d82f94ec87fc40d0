"""What a prediction costs: milliseconds from Prometheus's answers to the reasons, and the memory of the whole sidecar.

    python -m tests.bench.bench_predictor

Serves the committed model in a process that imports what the sidecar does and no more. The bars: 5 ms a prediction,
200 MB.
"""

import resource
import sys
import time
from pathlib import Path

PREDICTIONS = 2000
LIMIT_MS, LIMIT_MB = 5.0, 200.0


def main() -> None:
    import httpx
    import numpy as np

    from ml.features.prometheus import Prometheus
    from ml.features.signals import SERVICES, SIGNALS
    from ml.features.windows import HISTORY
    from ml.predictor.app import create_app
    from ml.predictor.asking import Asked, Questions
    from ml.predictor.command import checked_model
    from ml.predictor.metrics import Counts
    from ml.predictor.scorer import Scorer
    from ml.predictor.settings import SidecarSettings
    from ml.predictor.watch import Watch

    settings = SidecarSettings.load()
    model = checked_model(settings)
    counts = Counts("bench")
    questions = Questions(Prometheus(httpx.AsyncClient(), settings.prometheus_url), settings.scale)
    watch = Watch(questions, Scorer(model), model.manifest, settings.scale, counts)
    create_app(watch, model.manifest, counts)
    random = np.random.default_rng(1)
    took, worked = [], []
    for number in range(PREDICTIONS):
        asked = Asked(random.uniform(0, 1, (HISTORY, len(SIGNALS))), {})
        began, working = time.perf_counter(), time.process_time()
        watch._predict(SERVICES[number % len(SERVICES)], 60.0 * number, asked)
        took.append(1000 * (time.perf_counter() - began))
        worked.append(1000 * (time.process_time() - working))
    began = time.perf_counter()
    indices = watch.drift.indices()
    drift = 1000 * (time.perf_counter() - began)
    _row("a prediction with its reasons, median", float(np.median(took)), LIMIT_MS, "ms")
    _row("  99th percentile of processor time", float(np.percentile(worked, 99)), LIMIT_MS, "ms")
    _row("  99th percentile with the others on this machine", float(np.percentile(took, 99)), LIMIT_MS, "ms")
    _row("memory at its highest", _peak_megabytes(), LIMIT_MB, "MB")
    sys.stdout.write(f"{f'drift of {len(indices)} features, once a scrape':<50} {drift:7.2f} ms\n")


def _peak_megabytes() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had when it forked
        return float(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _row(what: str, value: float, limit: float, unit: str) -> None:
    verdict = "" if value <= limit else "  MISSED"
    sys.stdout.write(f"{what:<50} {value:7.2f} {unit:<2}   bar {limit:g} {unit}{verdict}\n")


if __name__ == "__main__":
    main()
