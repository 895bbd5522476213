"""Lines of poisoning: what got in, what is left of the gain, and each row recorded once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from experiments import poisoning
from experiments.jobs import PLAIN, Job
from experiments.poisoning import ARMS, COPIES, TABLE, Outcome, gain_kept, main, success
from experiments.results import read_lines
from experiments.tables import COLUMNS, render_table
from relgnn.data import KnowledgeGraph
from relgnn.loop.opened import open_run, run_config
from relgnn.loop.poison import STYLES, Poison
from relgnn.loop.pseudo import Pseudo, Role
from relgnn.ranking.ranks import Ranks
from relgnn.training import load_json


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known_run: Path) -> Path:
    monkeypatch.setattr(poisoning, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(poisoning, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(poisoning, "base_run", lambda seed: known_run)
    config = run_config(known_run)
    monkeypatch.setattr(poisoning, "base_job", lambda seed: Job(TABLE, PLAIN, seed, config))
    # every page of the user's own data says it in the same words
    monkeypatch.setattr(poisoning, "COPIES", (1,))
    return tmp_path / "results"


def test_every_row_is_measured_and_recorded_once(
    results: Path, own_run: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert main(["--seeds", "0", "--targets", "3"]) == 0
    lines = {line.row: line for line in read_lines(TABLE, results)}
    assert lines.keys() == ARMS.keys()
    rows = load_json(own_run / "metrics.json")["rows"]
    there, before = (rows[name]["all"]["both"]["realistic"]["mrr"] for name in ("loop", "round0"))
    clean = lines["clean"].metrics
    assert clean["mrr"] == pytest.approx(there)
    assert clean["gain_mrr"] == pytest.approx(there - before)
    assert "gain_kept" not in clean
    for row, line in lines.items():
        assert set(line.metrics) <= set(COLUMNS)
        assert line.metrics["targets"] == 3
        if row != "clean":
            kept = line.metrics["gain_mrr"] / clean["gain_mrr"]
            assert line.metrics["gain_kept"] == pytest.approx(kept)
        assert line.command == f"python -m experiments.poisoning --rows {row} --seeds 0 --targets 3"
    shas = {row: line.config_sha256 for row, line in lines.items()}
    assert shas["clean_defended"] == shas["poisoned_defended"] != shas["poisoned"]
    assert "| `poisoned_defended` |" in render_table(TABLE, results)
    capsys.readouterr()
    assert main(["--seeds", "0", "--targets", "3"]) == 0
    assert capsys.readouterr().err == ""
    asked: list[str] = []
    monkeypatch.setattr(poisoning, "record", lambda row, seed, targets: asked.append(row))
    assert main(["--seeds", "0", "--targets", "2", "--rows", "clean"]) == 0 and asked == ["clean"]
    unlike = ("loop.controls=[]", "loop.cap=0.5")
    monkeypatch.setattr(poisoning, "changes", lambda arm: unlike)
    assert main(["--seeds", "0", "--targets", "3"]) == 0
    assert asked == ["clean", "clean_defended", "poisoned", "poisoned_defended"]


def test_planted_texts_are_read_where_they_are_planted(
    results: Path, own_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, KnowledgeGraph] = {}

    class Watching(poisoning.Loop):
        def __init__(self, world: object) -> None:
            super().__init__(world)
            seen[self.folder.name] = self.world.graph

    monkeypatch.setattr(poisoning, "Loop", Watching)
    assert main(["--rows", "poisoned", "clean_defended", "--targets", "3", "--seeds", "0"]) == 0
    own = open_run(own_run).graph
    assert seen["0-clean_defended"].texts == own.texts
    extra = seen["0-poisoned"].texts[len(own.texts) :]
    assert len(extra) == 3 and all(text.id.startswith("planted-") for text in extra)


class FirstIs:
    """A model to which some triples come first."""

    def __init__(self, first: list[bool]) -> None:
        self.first = np.array(first)

    def ranks(self, triples: np.ndarray, known: np.ndarray) -> dict[str, Ranks]:
        rank = np.where(self.first, 1, 2)
        return {"tail": Ranks(rank, rank, np.full(len(rank), 9))}


def test_success_is_counted_by_copies_and_style(own_run: Path) -> None:
    triples = np.array([[i, 0, 20] for i in range(8)])
    copies = np.array([1, 1, 3, 3, 3, 3, 3, 3])
    style = (*STYLES[:2], *STYLES, *STYLES)
    planted = Poison(triples, copies, style, ())
    taught = Pseudo(triples[[0, 2, 3, 5]], np.ones(4)).join(
        Pseudo(triples[[7]][:, ::-1], np.ones(1)).as_role(Role.CONNECTED)
    )
    first = [True] + [False] * 6 + [True]
    outcome = Outcome(None, FirstIs(first), taught)  # type: ignore[arg-type]
    found = success(outcome, open_run(own_run).graph, planted)
    assert found["targets"] == 8
    assert found["flipped_1"] == 0.5 and found["first_1"] == 0.5
    assert found["flipped_3"] == 0.5 and found["first_3"] == pytest.approx(1 / 6)
    assert found["joined_1"] == 0 and found["joined_3"] == pytest.approx(1 / 6)
    assert found["flipped_3_low"] < 0.5 < found["flipped_3_high"]
    assert [found[f"flipped_{name}"] for name in STYLES] == [1, 0.5, 0]


def ranked(reciprocal: list[float]) -> dict[str, Ranks]:
    rank = np.round(1 / np.array(reciprocal)).astype(int)
    one = Ranks(rank, rank, np.full(len(rank), 99))
    return {"tail": one, "head": one}


def test_the_gain_kept_is_a_ratio_with_its_interval() -> None:
    before, clean = ranked([0.25] * 40), ranked([0.5] * 20 + [1.0] * 20)
    same = gain_kept(before, clean, clean)
    assert (same.mean, same.low, same.high) == (1, 1, 1)
    assert gain_kept(before, clean, before).mean == 0
    half = gain_kept(before, clean, ranked([0.5] * 40))
    assert half.mean == pytest.approx(0.25 / 0.5)
    assert half.low < half.mean < half.high


def test_what_the_issue_asks_for_has_a_title() -> None:
    assert max(COPIES) == 10
    bounds = ("", "_low", "_high")
    wanted = {f"flipped_{k}{bound}" for k in COPIES for bound in bounds}
    wanted |= {f"{what}_{k}" for what in ("joined", "first") for k in COPIES}
    wanted |= {f"flipped_{style}" for style in STYLES}
    assert wanted | {"gain_kept", "gain_kept_low", "gain_kept_high"} <= set(COLUMNS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rows", "magic"], "--rows magic: is no row; known are clean, clean_defended"),
        (["--targets", "0"], "--targets 0: give at least 1"),
    ],
)
def test_what_cannot_be_asked_for(
    words: list[str], said: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert said in capsys.readouterr().err
    assert read_lines(TABLE, results) == []
