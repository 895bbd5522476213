"""Lines of the fairness audit: a row a group and a row a swap, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from experiments import fairness
from experiments.fairness import TABLE, main
from experiments.results import append, read_lines
from experiments.tables import COLUMNS, render_table


@pytest.fixture
def results(on_own_run: Callable[[ModuleType], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("relgnn.audit.swap.OFTEN", 1)
    return on_own_run(fairness)


def test_every_group_and_every_swap_has_a_line(results: Path) -> None:
    words = ["--groups", "lives", "--least", "2", "--swaps", "3"]
    assert main([*words, "--seeds", "0"]) == 0
    lines = {line.row: line for line in read_lines(TABLE, results)}
    groups = [row for row in lines if row.startswith("lives/")]
    assert groups and list(lines) == [*groups, "swap/lives"]
    for line in lines.values():
        assert set(line.metrics) <= set(COLUMNS)
        assert line.command == (
            "python -m experiments.fairness --seeds 0 --groups lives --least 2 --swaps 3"
        )
        for name in line.metrics:
            if f"{name}_low" in line.metrics:
                low, high = line.metrics[f"{name}_low"], line.metrics[f"{name}_high"]
                assert low <= line.metrics[name] <= high
    assert lines["swap/lives"].metrics["persons"] == 3
    assert all(lines[row].metrics["persons"] >= 2 for row in groups)
    shown = results / "shown"
    append(TABLE, [replace(line, dirty=False) for line in lines.values()], shown)
    text = render_table(TABLE, shown)
    assert "| `swap/lives` |" in text and "gap at like relations" in text and "persons" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--groups", "P21"], "'P21' is not in data"),
        (["--least", "1"], "--least 1: give at least 2"),
        (["--swaps", "-1"], "--swaps -1: give 0 or more"),
        (["--run", "nowhere"], "nowhere: is no run folder"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert read_lines(TABLE, results) == []


def test_a_run_of_other_data_is_no_row_of_this_table(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fairness, "DATA", "codex_s")
    assert main(["--groups", "lives"]) == 2
    assert "the table fairness_codex_s is of codex_s" in capsys.readouterr().err
