"""Every program of experiments and benchmarks says what it is."""

from __future__ import annotations

import importlib

import pytest

from tests.conftest import ROOT

PROGRAMS = sorted(
    f"{path.parent.name}.{path.stem}"
    for folder in ("experiments", "benchmarks")
    for path in (ROOT / folder).glob("*.py")
    if "make_parser(" in path.read_text(encoding="utf-8") and path.stem != "command"
)


def test_there_are_programs() -> None:
    assert {"experiments.reproduce", "benchmarks.speed"} <= set(PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_is_the_docstring(
    program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(program)
    monkeypatch.setattr("sys.argv", [program, "--help"])
    with pytest.raises(SystemExit) as left:
        module.main()
    assert left.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: python -m {program} ")
    assert module.__doc__ is not None and module.__doc__.strip() in told
