"""Whom the page asks, and what it makes of their answers."""
