"""The gate of an experiment: may it begin, may it go on? Named objectives in, 200 or 503 out.

It stands beside Chaos Mesh, whose Workflows ask it by HTTP and end when it says no. What it asks Prometheus is written
in a file: nobody can send PromQL of their own.
"""
