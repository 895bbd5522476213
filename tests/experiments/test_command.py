"""Every program of experiments and benchmarks says what it is."""

from __future__ import annotations

import importlib

import pytest

from experiments.command import make_parser, told_options
from tests.conftest import ROOT


def test_a_command_tells_what_was_not_left_at_its_default() -> None:
    parser = make_parser("x", None)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--sizes", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--sides", nargs="+")
    parser.add_argument("--deep", action="store_true")

    def told(*words: str) -> str:
        return told_options(parser, parser.parse_args(words), "rate", "sizes", "sides", "deep")

    assert told() == told("--rate", "200", "--sizes", "1", "2") == ""
    words = ("--rate", "50", "--sizes", "3", "--sides", "ours, int8", "b", "--deep")
    assert told(*words) == " --rate 50.0 --sizes 3 --sides 'ours, int8' b --deep"


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
