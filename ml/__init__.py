"""Failure prediction: features, labels, recorded campaigns, training, evaluation, the sidecar and remediation.

The platform is reached over its public interfaces only (HTTP, Prometheus, the stack's commands), never by import.
"""
