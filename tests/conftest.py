"""Fixtures for every test: real databases and a real broker."""

pytest_plugins = ["tests.fixtures.databases", "tests.fixtures.nats"]
