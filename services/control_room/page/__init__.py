"""The page of the control room: what the platform does, and the levers to break and mend it.

A process of its own: it stays up while traces flood the receiver, and while a drill kills it.
"""
