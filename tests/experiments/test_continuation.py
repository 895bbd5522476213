"""The protocol of continued runs on tiny data, and what it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import continuation
from experiments.continuation import CONFIG, OLD, REPLAY, TABLE, measure, of_relations
from experiments.results import read_lines
from experiments.tables import render_table
from relgnn.config import RelationConfig, load_run_config
from relgnn.data.registry import find
from relgnn.data.relations import read_relations
from relgnn.text.relation_run import run_relations
from relgnn.training import load_json, save_json
from tests.experiments.tiny import SMALL_RELATIONS, write_tiny_relations

ROWS = {"before", *REPLAY}


def test_relations_are_divided_without_loss(tmp_path: Path) -> None:
    data = read_relations(write_tiny_relations(tmp_path / "tiny"))
    old, new = of_relations(data, {"born", "Other"}), of_relations(data, {"lives"})
    assert (old.labels, new.labels) == (("born", "Other"), ("lives",))
    for split in ("train", "valid", "test"):
        parts = [getattr(one, split) for one in (old, new, data)]
        assert len(parts[0]) + len(parts[1]) == len(parts[2])
        said = {old.labels[one.relation] for one in parts[0]}
        assert said == {"born", "Other"} and {one.relation for one in parts[1]} == {0}


def test_the_old_relations_are_semeval_s() -> None:
    folder = find("semeval2010_fewlabel")
    if folder is None:
        pytest.skip("semeval2010_fewlabel is not here")
    assert set(read_relations(folder).families) > OLD


def test_the_protocol_runs(tmp_path: Path, tiny_bert: str) -> None:
    small = [*SMALL_RELATIONS, f"data.path={write_tiny_relations(tmp_path / 'tiny')}"]
    config = load_run_config(CONFIG, [*small, f"text.model={tiny_bert}", "runtime.precision=fp32"])
    assert isinstance(config, RelationConfig)
    found = measure(config, tmp_path / "runs", {"born", "Other"}, run_relations)
    assert set(found) == ROWS
    for figures, metrics in found.values():
        assert len(figures) == 6 and all(0 <= value <= 1 for value in figures.values())
        assert metrics["seconds"] > 0
    assert found["before"][0]["new_macro_f1"] == 0
    before = load_json(tmp_path / "runs" / "run" / "metrics.json")["test"]
    assert found["before"][0]["old_macro_f1"] == pytest.approx(before["macro_f1"])


@pytest.mark.usefixtures("clean_tree")
def test_a_seed_is_recorded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def fake(config: RelationConfig, folder: Path, old: Any) -> dict[str, Any]:
        calls.append(config.runtime.seed)
        save_json(folder / "run" / "environment.json", {"hardware": "one core", "versions": {}})
        figures = {"macro_f1": 0.5, "old_macro_f1": 0.6}
        return {row: (figures, {"seconds": 1.0, "peak_memory_mb": 2.0}) for row in ROWS}

    monkeypatch.setattr(continuation, "measure", fake)
    monkeypatch.setattr(continuation, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(continuation, "RESULTS", tmp_path)
    for _ in range(2):
        assert continuation.main(["--seeds", "0", "1"]) == 0
    assert calls == [0, 1]
    lines = read_lines(TABLE, tmp_path)
    assert {(line.row, line.seed) for line in lines} == {(r, s) for r in ROWS for s in (0, 1)}
    shown = render_table(TABLE, tmp_path)
    assert "macro-F1, old relations" in shown and "`after_replay`" in shown
    assert "python -m experiments.continuation" in shown
