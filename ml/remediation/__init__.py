"""Acts on warnings, if a policy lets it: seldom, little, on record, and undone when it did not help.

`decide` is pure; `loop` feeds it; `actuators` are the only place that changes anything.
"""
