"""Labels that mean nothing teach nothing: they rank as chance does, and real ones far above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments import permutation
from experiments.permutation import ROWS, TABLE, configuration, main, measure, renamed
from experiments.permutation import tails_permuted as permuted
from experiments.results import read_lines
from experiments.tables import render_table
from relgnn.data import KnowledgeGraph
from relgnn.runtime import rng
from tests.linkpred.toy import toy_graph

QUICK = ("train.epochs=8", "runtime.threads=1", "runtime.device=cpu")


@pytest.fixture
def graph() -> KnowledgeGraph:
    return toy_graph()


def degrees(graph: KnowledgeGraph, triples: np.ndarray, column: int) -> np.ndarray:
    """How often each entity stands in a place of each relation, [R, E]."""
    found = np.zeros((graph.num_relations, graph.num_entities), dtype=int)
    np.add.at(found, (triples[:, 1], triples[:, column]), 1)
    return found


def test_permuted_tails_leave_every_degree(graph: KnowledgeGraph) -> None:
    found = permuted(graph, rng("test", 0))
    assert (found != graph.train).any()
    for column in (0, 2):
        expected = degrees(graph, graph.train, column)
        assert (degrees(graph, found, column) == expected).all()


def test_renamed_relations_keep_their_structure_and_no_names(graph: KnowledgeGraph) -> None:
    found = renamed(graph, rng("test", 0))
    assert (found[:, 1] == graph.train[:, 1]).all()
    for column in (0, 2):
        was, now = (degrees(graph, t, column) for t in (graph.train, found))
        assert (np.sort(was, axis=1) == np.sort(now, axis=1)).all() and (was != now).any()
    rows = list(zip(graph.train.tolist(), found.tolist(), strict=True))
    names = {(r, old): new for (old, r, _), (new, *_) in rows}
    assert all(names[r, old] == new for (old, r, _), (new, *_) in rows)
    assert (renamed(graph, rng("test", 0)) == found).all()
    assert (renamed(graph, rng("test", 1)) != found).any()


def test_all_names_are_equally_likely(graph: KnowledgeGraph) -> None:
    draws = np.stack([renamed(graph, rng("test", seed)) for seed in range(300)])
    expected = 300 / graph.num_entities
    counts = np.bincount(draws[:, 0, 2], minlength=graph.num_entities)
    assert ((counts - expected) ** 2 / expected).sum() < 2.5 * graph.num_entities


@pytest.mark.usefixtures("shared_data")
def test_labels_without_meaning_rank_as_chance_and_real_ones_far_above() -> None:
    config = configuration("umls", 0, QUICK)
    nothing, real = measure(config, "renamed"), measure(config, "given")
    assert nothing["chance_mrr"] == real["chance_mrr"] < 0.1
    assert nothing["mrr"] == pytest.approx(nothing["chance_mrr"], abs=0.03)
    assert nothing["hits@10"] < 0.2
    assert real["mrr"] > 0.5 and real["hits@10"] > 0.8


@pytest.mark.usefixtures("clean_tree")
def test_a_row_is_recorded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        permutation, "measure", lambda config, labels: {"chance_mrr": 0.25, "mrr": 0.5}
    )
    monkeypatch.setattr(permutation, "RESULTS", tmp_path)
    for _ in range(2):
        assert main(["--seeds", "0"]) == 0
    assert [line.row for line in read_lines(TABLE, tmp_path)] == list(ROWS)
    with monkeypatch.context() as patch:
        patch.setattr(
            permutation, "configuration", lambda data, seed: configuration(data, seed, QUICK)
        )
        assert main(["--seeds", "0", "--rows", "umls/given"]) == 0
    assert [line.row for line in read_lines(TABLE, tmp_path)] == [*ROWS, "umls/given"]
    shown = render_table(TABLE, tmp_path)
    assert "MRR by chance" in shown and "`umls/renamed`" in shown and ".250" in shown
    assert main(["--rows", "umls"]) == 2
    assert "--rows umls: is no row; known are nations/given" in capsys.readouterr().err
