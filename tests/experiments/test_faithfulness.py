"""Lines of explanations: every method beside random orders, and what cannot be measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from experiments import faithfulness
from experiments.faithfulness import TABLE, main
from experiments.results import append, read_lines
from experiments.tables import BOUNDS, COLUMNS, render_table


@pytest.fixture
def results(on_own_run: Callable[[ModuleType], Path]) -> Path:
    return on_own_run(faithfulness)


def test_every_method_has_a_line_beside_random_orders(results: Path) -> None:
    methods = ["integrated_gradients", "gnn_explainer", "occlusion"]
    assert main(["--predictions", "2", "--seeds", "0"]) == 0
    lines = {line.row: line for line in read_lines(TABLE, results)}
    assert list(lines) == [*methods, "random"]
    for line in lines.values():
        assert set(line.metrics) <= set(COLUMNS)
        assert line.metrics["predictions"] == 2
        assert 0 <= line.metrics["deletion_auc"] <= 1 and 0 <= line.metrics["insertion_auc"] <= 1
        for gain in ("deletion_gain", "insertion_gain") if line.row != "random" else ():
            low, high = (line.metrics[f"{gain}_{bound}"] for bound in ("low", "high"))
            assert low <= line.metrics[gain] <= high
        assert line.command == (
            "python -m experiments.faithfulness --seeds 0 --predictions 2 --methods "
            "integrated_gradients gnn_explainer occlusion"
        )
    random = lines["random"].metrics
    assert random.keys() == {"deletion_auc", "insertion_auc", "predictions"}
    other = lines["occlusion"].metrics
    assert other["deletion_gain"] == pytest.approx(
        random["deletion_auc"] - other["deletion_auc"], abs=1e-9
    )
    assert other["insertion_gain"] == pytest.approx(
        other["insertion_auc"] - random["insertion_auc"], abs=1e-9
    )


def test_a_run_by_its_folder_and_its_table(results: Path, own_run: Path) -> None:
    assert main(["--run", str(own_run), "--predictions", "2", "--methods", "occlusion"]) == 0
    first, second = read_lines(TABLE, results)
    assert (first.row, second.row) == ("occlusion", "random")
    assert f"--run {own_run.name} --predictions 2" in first.command
    assert str(own_run.parent) not in first.command
    shown = results / "shown"
    append(TABLE, [replace(line, dirty=False) for line in (first, second)], shown)
    text = render_table(TABLE, shown)
    assert "| `occlusion` |" in text and "deletion area" in text and "predictions" in text


def test_gains_of_random_orders_over_themselves_are_not_shown(results: Path) -> None:
    assert main(["--predictions", "2", "--methods", "occlusion"]) == 0
    method, random = (replace(line, dirty=False) for line in read_lines(TABLE, results))
    gains = [f"{which}_gain{bound}" for which in ("deletion", "insertion") for bound in BOUNDS]
    # as they were recorded once; a method's own may be 0, and its interval not
    random.metrics.update(dict.fromkeys(gains, 0.0))
    method.metrics.update(dict.fromkeys(gains, 0.0) | {"deletion_gain_low": -0.1})
    append(TABLE, [method, random], results / "shown")
    shown = render_table(TABLE, results / "shown")
    assert "below random" in shown and "above random" not in shown
    rows = {line.split("`")[1]: line.count("| –") for line in shown.splitlines() if "| `" in line}
    assert rows == {"occlusion": 0, "random": 3}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--methods", "magic"], "--methods magic: is no method; known are integrated_gradients"),
        (["--predictions", "1"], "--predictions 1: give at least 2"),
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
    monkeypatch.setattr(faithfulness, "DATA", "codex_s")
    assert main(["--predictions", "2"]) == 2
    assert "the table explanations_codex_s is of codex_s" in capsys.readouterr().err
    assert read_lines(TABLE, results) == []
