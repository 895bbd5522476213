"""Errors that a user sees: one line that says what was given, what was expected and what to do."""

from __future__ import annotations


class RelgnnError(Exception):
    """Base of the errors that the command line prints as one line.

    `exit_code` is the process's exit status.
    """

    exit_code = 1


class InputError(RelgnnError):
    """The user's input is wrong: a file, a name, a configuration key."""

    exit_code = 2


class Diverged(InputError):
    """A loss is not finite: the learning rate is too high, or the precision too low."""


class MachineError(RelgnnError):
    """The machine failed: a full disk, no memory, a missing device."""

    exit_code = 3


def lacks_memory(error: Exception) -> bool:
    """Whether an error is that of a machine, or of a GPU, without memory."""
    if isinstance(error, MemoryError):
        return True
    # torch has no class of its own for a processor's memory
    told = ("can't allocate memory", "out of memory")
    return isinstance(error, RuntimeError) and any(words in str(error) for words in told)
