"""Runs as classifiers of triples: where they come from, and what is recorded of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments import triple_classification
from experiments.commit import FILE
from experiments.jobs import Job, jobs, run_folder
from experiments.results import read_lines
from experiments.tables import render_table
from experiments.triple_classification import EXPECTED, main, measure, trained
from relgnn.config import load_config, load_run_config
from relgnn.data import KnowledgeGraph
from relgnn.data.registry import load
from relgnn.loop.run import run
from relgnn.loop.runs import run_any
from relgnn.training import save_json
from tests.own import write_config, write_data

TABLE = "triple_classification_codex_s"


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A configuration beside an own folder with false triples: tails taken from other triples."""
    folder = tmp_path_factory.mktemp("checked")
    data = write_data(folder / "data")
    everything = {
        split: (data / f"{split}.tsv").read_text() for split in ("train", "valid", "test")
    }
    true = {line for text in everything.values() for line in text.splitlines()}
    for split in ("valid", "test"):
        rows = [line.split("\t") for line in everything[split].splitlines()]
        moved = [f"{h}\t{r}\t{rows[(n + 3) % len(rows)][2]}" for n, (h, r, _) in enumerate(rows)]
        false = [line for line in dict.fromkeys(moved) if line not in true]
        (data / f"{split}_negatives.tsv").write_text("".join(f"{line}\n" for line in false))
    return write_config(folder / "own.yaml", data)


def test_a_predictor_and_rules_classify(own: Path, tmp_path: Path) -> None:
    changes = ["loop=null", "text.node_features=none", "gnn.kind=none", "train.epochs=2"]
    config = load_config(own, changes)
    run(config, tmp_path / "run")
    found = measure(config, tmp_path / "run")
    graph = load(own.parent / "data")
    assert found.keys() >= {"accuracy", "f1", "accuracy_one_threshold", "ece", "ece_chance"}
    assert all(0 <= value <= 1 for name, value in found.items() if name != "log_loss")
    assert found == measure(config, tmp_path / "run")
    (tmp_path / "rules.yaml").write_text(f"data: {{path: {own.parent / 'data'}}}\nrules: {{}}\n")
    rules = load_run_config(tmp_path / "rules.yaml")
    run_any(rules, tmp_path / "rules")
    ruled = measure(rules, tmp_path / "rules")
    assert ruled["accuracy_relation_alone"] == found["accuracy_relation_alone"]
    triples, labels = graph.labelled("test")
    assert labels.sum() == len(graph.test) and len(triples) == len(labels)
    assert (triples[~labels] == graph.negatives["test"]).all()


def fake_runner(made: list[Path]) -> Callable[[Any, Path, bool], None]:
    def runner(config: Any, folder: Path, resume: bool) -> None:
        made.append(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "metrics.json").write_text('{"seconds": 8.0, "peak_memory_mb": 3.0}')
        (folder / "environment.json").write_text('{"hardware": "one core", "versions": {}}')

    return runner


def job(seed: int) -> Job:
    [found] = jobs("lp_codex_s", ["complex"], [seed])
    return found


def test_a_finished_run_of_the_table_is_taken_and_another_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: str
) -> None:
    monkeypatch.setattr(triple_classification, "RUNS", tmp_path)
    made: list[Path] = []
    runner = fake_runner(made)
    there = run_folder(job(0), tmp_path)
    runner(job(0).config, there, False)
    save_json(there / FILE, {"git_commit": clean_tree, "dirty": False})
    assert trained(job(0), runner) == there
    # a run of another configuration is none of ours
    shutil.copytree(there, run_folder(job(1), tmp_path))
    own = tmp_path / TABLE / "complex-1"
    assert trained(job(1), runner) == trained(job(1), runner) == own
    assert made == [there, own]
    # nor is one of uncommitted code
    save_json(there / FILE, {"git_commit": clean_tree, "dirty": True})
    assert trained(job(0), runner) == own.with_name("complex-0")


@pytest.mark.usefixtures("clean_tree")
def test_a_row_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = triple_classification
    monkeypatch.setattr(module, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(module, "measure", lambda *_: {"accuracy": 0.83, "f1_one_threshold": 0.9})
    runner = fake_runner([])
    monkeypatch.setattr(module, "trained", lambda job: trained(job, runner))
    for _ in range(2):
        assert main(["--rows", "complex", "rules", "--seeds", "0", "1"]) == 0
    lines = read_lines(TABLE, tmp_path)
    assert [(x.row, x.seed) for x in lines] == [
        (r, s) for s in (0, 1) for r in ("complex", "rules")
    ]
    assert lines[0].expected == EXPECTED["codex_s", "complex"] and not lines[1].expected
    assert lines[0].seconds >= 8
    shown = render_table(TABLE, tmp_path)
    assert "F1, one threshold" in shown and "| .836 | below |" in shown
    capsys.readouterr()
    assert main(["--data", "nations"]) == 2
    assert "'lp_nations' is no table with configurations" in capsys.readouterr().err


@pytest.mark.usefixtures("shared_data")
def test_codex_has_as_many_false_triples_as_true_ones() -> None:
    graph: KnowledgeGraph = load("codex_s")
    for split in ("valid", "test"):
        triples, labels = graph.labelled(split)
        assert len(triples) == len(labels) and labels.mean() == 0.5
        assert len(np.unique(triples, axis=0)) == len(triples)
