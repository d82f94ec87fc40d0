"""Recorded chaos: randomised faults on a running platform, and what Prometheus saw of them, as a labelled dataset."""
