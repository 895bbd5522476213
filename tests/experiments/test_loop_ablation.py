"""The loop's ablation: each row changes something that can be, and is recorded once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments import loop_ablation
from experiments.jobs import PLAIN, Job
from experiments.loop_ablation import (
    LONG,
    RUN_BY,
    TABLE,
    VARIANTS,
    main,
    measure,
    replayed,
    replayed_config,
    variant_of,
)
from experiments.opened import base_job
from experiments.results import read_lines
from experiments.tables import render_table
from relgnn.config import Config, make_config
from relgnn.loop.opened import run_config
from relgnn.loop.replay import Replay
from relgnn.loop.selection import loop_selector
from relgnn.runtime import environment
from relgnn.training import load_json, save_json
from tests.linkpred.toy import toy_graph
from tests.loop.toy import posteriors


@pytest.mark.parametrize("row", VARIANTS)
def test_every_row_changes_the_base_run(row: str) -> None:
    base, variant = base_job(0).config, variant_of(row)
    changed = make_config(base.model_dump(mode="json"), variant.overrides)
    longer = make_config(base.model_dump(mode="json"), RUN_BY[LONG])
    assert changed.loop is not None and longer.loop is not None
    assert changed.loop.rounds <= longer.loop.rounds
    same = [
        name
        for name in VARIANTS
        if replace(other := variant_of(name), overrides=()) == replace(variant, overrides=())
        and make_config(base.model_dump(mode="json"), other.overrides) == changed
    ]
    assert same == [row]
    assert (changed == base) == (not VARIANTS[row].overrides)


@pytest.mark.parametrize("row", VARIANTS)
def test_a_row_leaves_out_a_view_that_its_run_has(row: str) -> None:
    config = replayed_config(row, 0)[1]
    assert config.loop is not None
    views = {"text", "graph"} | ({"rules"} if config.loop.rules is not None else set())
    assert set(VARIANTS[row].without) < views


def test_each_selector_accepts_something_else() -> None:
    """Of posteriors as rounds of the base run have them: few a pair, few of them sure."""
    graph, rng, count = toy_graph(), np.random.default_rng(0), 4000
    pair, relation = np.arange(count), rng.choice(3, count, p=[0.8, 0.15, 0.05])
    triples = np.stack([pair, relation, pair], axis=1)
    said = posteriors(triples, rng.beta(0.5, 1, count), np.zeros(count, dtype=np.int64))
    taken = {}
    for row in ("loop", *(name for name in VARIANTS if name.startswith("selector_"))):
        config = make_config(base_job(0).config.model_dump(mode="json"), VARIANTS[row].overrides)
        assert config.loop is not None
        if config.loop.selector != "conformal":  # which is of a sample besides
            found = loop_selector(config.loop, graph, 1).select(said)
            taken[row] = (*found.index.tolist(), *found.weight.tolist())
    assert len(taken) >= 9 and all(taken.values())
    assert len(set(taken.values())) == len(taken)


def test_a_row_is_replayed_and_recorded_once(
    known_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    some = {
        "loop": loop_ablation.Variant(),
        "without_text": loop_ablation.Variant(without=("text",)),
    }
    monkeypatch.setattr(loop_ablation, "VARIANTS", some)
    monkeypatch.setattr(loop_ablation, "RUN_BY", {LONG: ()})
    monkeypatch.setattr(loop_ablation, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(loop_ablation, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(loop_ablation, "replayed", lambda *_: known_run)
    config = run_config(known_run)
    monkeypatch.setattr(loop_ablation, "base_job", lambda seed: Job(TABLE, PLAIN, seed, config))
    # where and with what a row is measured, whatever the base run's was
    there = load_json(known_run / "environment.json")
    save_json(known_run / "environment.json", there | {"hardware": "another machine"})
    assert main(["--seeds", "0"]) == 0
    lines = {line.row: line for line in read_lines(TABLE, tmp_path / "results")}
    assert lines.keys() == some.keys()
    expected = load_json(known_run / "metrics.json")["test"]["all"]["both"]["realistic"]["mrr"]
    assert lines["loop"].metrics["mrr"] == pytest.approx(expected)
    assert lines["without_text"].metrics["accepted"] != lines["loop"].metrics["accepted"]
    assert not list((tmp_path / "runs" / TABLE).iterdir())
    assert "without_text" in render_table(TABLE, tmp_path / "results")
    capsys.readouterr()
    assert main(["--seeds", "0"]) == 0
    assert "loop, seed 0" not in capsys.readouterr().err
    assert lines["loop"].hardware == environment()["hardware"]
    asked: list[str] = []
    monkeypatch.setattr(loop_ablation, "record", lambda rows, seed: asked.extend(rows))
    changed = loop_ablation.Variant(("loop.cap=0.5",))
    monkeypatch.setitem(some, "loop", changed)
    assert main(["--seeds", "0"]) == 0 and asked == ["loop"]
    assert main(["--rows", "nothing"]) == 2
    assert "nothing: is no row; known are loop" in capsys.readouterr().err


def test_measures_say_what_was_accepted(own_run: Path, tmp_path: Path) -> None:
    found = measure(Replay(own_run), loop_ablation.Variant(), tmp_path / "replay")
    assert found["accepted"] > 0 and 0 <= found["real_precision"] <= 1
    assert 0 < found["promised_precision"] <= 1 and found["rounds"] == 1
    assert not (tmp_path / "replay").exists()


def test_rows_that_need_other_judges_replay_runs_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: str
) -> None:
    monkeypatch.setattr(loop_ablation, "RUNS", tmp_path)
    made = []

    def runner(config: Config, folder: Path, resume: bool) -> None:
        assert not resume
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "metrics.json").write_text("{}")
        made.append((folder, config))

    for row in ("loop", "rounds_5", "not_cross_fitted", "rules"):
        assert replayed(row, 0, runner) == replayed(row, 0, runner)
    assert [folder.name for folder, _ in made] == [
        "0-run-longer", "0-run-not_cross_fitted", "0-run-rules",
    ]  # fmt: skip
    assert made[0][1].loop.rounds == 5 and not made[1][1].loop.cross_fitted
    assert made[2][1].loop.rules is not None
    # another configuration's is made anew
    monkeypatch.setitem(RUN_BY, LONG, (*RUN_BY[LONG], "loop.cap=0.5"))
    replayed("rounds_5", 0, runner)
    assert len(made) == 4 and made[3][0] == made[0][0]
