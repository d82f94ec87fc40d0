"""Lists for `IN (...)` in few lengths, so that there are few statements.

A statement with seven values in its list is another text than one with eight, and whoever remembers prepared statements
by their text (SQLite's driver 128 of them a connection, asyncpg 100) keeps both: 0.1 MB for a list of a few hundred.
See "IN clause parameter padding" in Hibernate's user guide.
"""

from collections.abc import Collection
from typing import TypeVar

T = TypeVar("T")


def padded(values: Collection[T]) -> list[T]:
    """The same values, the last of them as often as it takes to make them a power of two: the same set, few lengths."""
    listed = list(values)
    if not listed:
        return listed
    length = 1 << (len(listed) - 1).bit_length()
    return listed + listed[-1:] * (length - len(listed))
