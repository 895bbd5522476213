"""What the command lines of this folder share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec

from relgnn.errors import RelgnnError

P = ParamSpec("P")


def tells_errors(main: Callable[P, int | None]) -> Callable[P, int]:
    """A `main` that tells an error in one line and returns its exit status; 0 where all is well."""

    @functools.wraps(main)
    def told(*args: P.args, **kwargs: P.kwargs) -> int:
        try:
            return main(*args, **kwargs) or 0
        except RelgnnError as error:
            print(error, file=sys.stderr)
            return error.exit_code

    return told
