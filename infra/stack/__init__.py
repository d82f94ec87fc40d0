"""One set of commands for either stack: processes, or containers."""
