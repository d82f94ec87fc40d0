"""The workshop: twelve labs on the running platform, each with a check that knows whether it was done.

`python -m workshop start 3`, `check 3`, `hint 3`, `solve 3`, `end`. The pages are in docs/workshop.
"""
