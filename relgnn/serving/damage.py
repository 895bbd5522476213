"""Files of our own that are damaged: no fault of whoever asks, and nothing they may read of."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from relgnn.errors import InputError, MachineError
from relgnn.serving.logs import event, place_of


@contextmanager
def own_files() -> Iterator[None]:
    """Where only the service's own files are read: what is wrong with them is the machine's.

    Raises:
        MachineError: in place of an InputError, which would be told to whoever asks, as a mistake
            of theirs.
    """
    try:
        yield
    except InputError as error:
        event("damaged", logging.ERROR, error=place_of(error))
        raise MachineError(str(error)) from error
