"""Holdfast in Kubernetes: manifests, and the two of them that a program writes."""
