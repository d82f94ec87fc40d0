"""Hours of load in minutes that anybody has: does anything grow that should not?

`make soak MINUTES=60` loads a stack of its own with 70 % of what it can take, breaks something mildly every few
minutes, samples every process, and judges the slope of each figure by the bounds in `bounds.yaml`.
"""
