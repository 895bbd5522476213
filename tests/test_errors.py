from __future__ import annotations

import pytest

from relgnn.errors import InputError, MachineError, RelgnnError


@pytest.mark.parametrize(("kind", "code"), [(RelgnnError, 1), (InputError, 2), (MachineError, 3)])
def test_exit_codes_are_those_that_the_command_line_promises(
    kind: type[RelgnnError], code: int
) -> None:
    assert kind("what to do").exit_code == code
    assert issubclass(kind, RelgnnError)
