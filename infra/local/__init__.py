"""The whole platform as processes on one machine: `python -m infra.local up`, with no container engine."""
