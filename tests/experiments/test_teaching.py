"""What the graph taught the text: counted by hand, and on a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from experiments import teaching
from experiments.results import read_lines
from experiments.teaching import TABLE, compare, main
from relgnn.loop.opened import run_config, run_graph


def test_the_first_round_gains_nothing_on_itself(own_run: Path) -> None:
    graph = run_graph(run_config(own_run), own_run)
    found = compare(own_run, graph, 1)
    assert found["gain"] == found["gain_low"] == found["gain_high"] == 0
    assert 0 <= found["true"] < found["candidates"]


def write_round(folder: Path, graph: object, p_text: dict[tuple[str, str, str], float]) -> None:
    """The files of a round that judged these triples and accepted what the text is sure of."""
    folder.mkdir(parents=True)
    pair = [f"{h}\t{t}" for h, _, t in p_text]
    candidates = pd.DataFrame({
        "pair_id": pair, "head": [h for h, _, _ in p_text], "tail": [t for _, _, t in p_text],
        "evidence_ids": [[] for _ in p_text],
    }).drop_duplicates("pair_id")  # fmt: skip
    candidates.to_parquet(folder / "candidates.parquet")
    none = np.zeros(len(p_text))
    pd.DataFrame({
        "pair_id": pair, "relation": [r for _, r, _ in p_text], "p": none,
        "p_text": list(p_text.values()), "p_graph": none, "p_rules": none,
        "weight": np.array(list(p_text.values())) >= 0.5,
    }).to_parquet(folder / "posterior.parquet")  # fmt: skip
    (folder / "calibration.json").write_text("{}")


def test_f1_is_counted_on_what_both_rounds_judged(own_run: Path, tmp_path: Path) -> None:
    graph = run_graph(run_config(own_run), own_run)
    known = {tuple(t) for t in graph.filter_triples("test").tolist()}
    true = [tuple(t) for t in graph.test.tolist()][:4]
    false = [
        (h, r, t)
        for h in range(6) for r in range(graph.num_relations) for t in range(20, 26)
        if (h, r, t) not in known
    ][:4]  # fmt: skip

    def ids(triple: tuple[int, ...]) -> tuple[str, str, str]:
        h, r, t = triple
        return graph.entities[h], graph.relations[r], graph.entities[t]

    before = dict.fromkeys(map(ids, [*true, *false]), 0.1) | {ids(true[0]): 0.9, ids(false[0]): 0.8}
    after = before | {ids(true[1]): 0.9, ids(true[2]): 0.5, ids(false[0]): 0.2}
    del after[ids(false[3])]
    write_round(tmp_path / "rounds" / "1", graph, before)
    write_round(tmp_path / "rounds" / "2", graph, after)
    found = compare(tmp_path, graph, 2)
    assert (found["candidates"], found["true"]) == (7, 4)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (2 * 3 + 0 + 1))
    assert found["gain"] == pytest.approx(6 / 7 - 2 / (2 + 1 + 3))
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]
    # true ones stand first, second and third, then three at .1, one of them true, and .2 before
    assert found["average_precision"] == pytest.approx((3 * 1 + 4 / 7) / 4)
    assert found["precision_gain_low"] <= found["precision_gain"] <= found["precision_gain_high"]


def test_every_round_of_a_run_is_recorded(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teaching, "RESULTS", tmp_path)
    monkeypatch.setattr(teaching, "base_run", lambda seed: own_run)
    assert main(["--seeds", "0"]) == 0
    [line] = read_lines(TABLE, tmp_path)
    assert line.row == "round_1" and line.metrics.keys() == {
        "micro_f1", "average_precision", "candidates", "true"
    }  # fmt: skip
