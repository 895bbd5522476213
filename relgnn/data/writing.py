"""A folder that is written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from relgnn.errors import MachineError


@contextmanager
def whole_folder(goal: Path) -> Iterator[Path]:
    """A folder beside `goal`, which takes its place when the block ends without an error.

    Args:
        goal: must not be there yet, or be empty.

    Raises:
        MachineError: it cannot be written.
    """
    beside = None
    try:
        goal.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(tempfile.mkdtemp(prefix=f".{goal.name}-", dir=goal.parent))
        yield beside
        beside.chmod(0o755)
        os.replace(beside, goal)
    except OSError as error:
        raise MachineError(
            f"{goal} could not be written ({error}): free space or choose another folder"
        ) from error
    finally:
        if beside is not None:
            shutil.rmtree(beside, ignore_errors=True)
