"""Fixtures that every test may ask for: real databases and a real broker."""

pytest_plugins = ["tests.fixtures.databases", "tests.fixtures.nats", "tests.sharing_out"]
