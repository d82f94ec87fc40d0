"""Experiments that break the platform on purpose, and say whether it stood."""
