"""The auditor: checks over the three databases that no failure cost money, stock or an order.

`python -m infra.audit` reads and never writes; it knows the tables, not the services' code, so that a defect there
cannot hide itself here.
"""
