"""Seconds of the loop's rounds, from the stages of a run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import rounds, speed
from experiments.results import append, read_lines
from experiments.speed import render_speed
from tests.loop.test_demo import SMALL


def lap(stage: str, number: int, seconds: float, memory: float) -> dict[str, Any]:
    return {"stage": stage, "round": number, "seconds": seconds, "peak_memory_mb": memory}


LAPS = [
    lap("encoding sentences", 0, 100.0, 500.0),
    lap("extractors", 1, 2.0, 700.0),
    lap("graph model", 1, 3.0, 900.0),
    lap("extractors", 2, 4.0, 900.0),
    lap("extractors", 2, 5.0, 950.0),
    lap("controls", 0, 60.0, 2000.0),
]


def test_a_round_is_the_sum_of_its_stages() -> None:
    first, second = rounds.rows_of(LAPS)
    assert (first["row"], first["ours_s"], first["ours_mb"]) == ("round_1", 5.0, 900.0)
    assert (second["row"], second["ours_s"], second["extractors_s"]) == ("round_2", 9.0, 9.0)
    assert "graph_model_s" not in second


def test_rounds_are_recorded_and_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(speed, "append", lambda table, lines: append(table, lines, tmp_path))
    began = {"git_commit": "c" * 40, "dirty": False}
    speed.record("rounds", rounds.rows_of(LAPS), {}, began, "python -m benchmarks.rounds")
    lines = [replace(line, dirty=False) for line in read_lines("speed", tmp_path)]
    shown = render_speed(lines)
    assert "| `round_1` | 5.000 |" in shown and "| `round_2` | 9.000 |" in shown
    assert "`python -m benchmarks.rounds`" in shown and "triples" not in shown


def test_the_demos_rounds_are_timed(
    monkeypatch: pytest.MonkeyPatch, own_cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("relgnn.data.registry.search_folders", lambda: [Path("/nowhere")])
    assert rounds.main(["--json", "--fraction", "0.5", *SMALL]) == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["row"] == "round_1" and row["ours_s"] > row["graph_model_s"] > 0
    assert rounds.main(["--fraction", "0"]) == 2
    assert "fraction" in capsys.readouterr().err
