"""What the operator did not expect, said so that it can be mended."""


class StackError(Exception):
    """A command of the local stack could not do what was asked.

    Args:
        problem: one sentence or a few lines: what is wrong.
        mend: what to do about it; empty when there is nothing better than the problem itself.
    """

    def __init__(self, problem: str, mend: str = "") -> None:
        super().__init__(problem if not mend else f"{problem}\n{mend}")
        self.problem = problem
        self.mend = mend


class SettingsError(StackError):
    """A setting has a value that cannot work; the message names where it was set."""
