"""The explained prediction: chosen by a rule, and told as `relgnn explain` tells it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import explained
from experiments.explained import FILE, LOW, SURE, choose, main
from relgnn.loop.opened import OpenRun
from relgnn.loop.records import RoundTable
from relgnn.training import load_json
from tests.answers import Call

TEST = np.arange(12).reshape(4, 3)
ONES = np.ones(4)
TABLE = RoundTable(
    TEST[::-1], SURE * ONES, ONES, ONES, ONES, ONES, [["a:0-1", "b:0-1"]] * 4, {"text": 1.0}
)
"""Of all test triples, in another order."""


def test_the_first_that_rose_by_reading_is_chosen() -> None:
    low = LOW * ONES
    assert choose(TEST, low, ONES, TABLE) == 0
    assert choose(TEST, np.array([LOW - 1, LOW - 1, LOW, LOW]), ONES, TABLE) == 2
    assert choose(TEST, low, np.array([2, 1, 1, 1]), TABLE) == 1
    # rows of the round are in another order than the test triples
    assert choose(TEST, low, ONES, replace(TABLE, p=np.array([1, 1, 1, SURE - 0.1]))) == 1
    assert choose(TEST, low, ONES, replace(TABLE, accepted=np.array([1, 0, 0, 0]))) == 3
    once = [["a:0-1"], ["a:0-1", "b:0-1"], ["a:0-1"], ["a:0-1"]]
    assert choose(TEST, low, ONES, replace(TABLE, evidence=once)) == 2
    assert choose(TEST, ONES, ONES, TABLE) is None


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_run: Path) -> Path:
    monkeypatch.setattr(explained, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(explained, "base_run", lambda seed: known_run)
    return tmp_path / "results"


def test_the_file_holds_what_the_command_prints(
    results: Path,
    own_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    call: Call,
    clean_tree: str,
) -> None:
    monkeypatch.setattr(explained, "choose", lambda *_: 1)
    assert main([]) == 0
    assert capsys.readouterr().out == f"{results / FILE}\n"
    found = load_json(results / FILE)
    assert (found["git_commit"], found["dirty"]) == (clean_tree, False)
    assert found["command"] == "python -m experiments.explained"
    assert found["ranks"]["before"] >= 1 and found["ranks"]["after"] >= 1
    told = found["explanation"]
    ends = {f"--{end}": told[end] for end in ("head", "relation", "tail")}
    words = [word for pair in ends.items() for word in pair]
    printed = call("explain", own_run, *words, "--json").out
    assert json.loads(printed) == told


def test_a_run_in_which_nothing_rose(
    results: Path,
    own_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(explained, "choose", lambda *_: None)
    assert main(["--run", str(own_run)]) == 2
    assert f"{own_run}: no test triple rose from rank {LOW} or lower" in capsys.readouterr().err
    monkeypatch.setattr(OpenRun, "round_folder", None, raising=False)
    assert main(["--run", str(own_run)]) == 2
    assert "nothing was read in this run; give one with 'loop:'" in capsys.readouterr().err
    assert not results.exists()
