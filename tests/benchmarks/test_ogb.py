"""What a submission to OGB says, and graphs of a given size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import ogb
from benchmarks.ogb import SIZES, Size, measure_config, submission, synthetic
from experiments import commit, reproduce, results
from experiments import jobs as table_jobs
from experiments.jobs import Job, jobs
from experiments.results import Line
from relgnn.config import AnyOgbConfig, AutoencoderConfig, load_run_config
from relgnn.data import ogb as reader
from relgnn.data.ogb import OgbLinks, OgbNodes, OgbTriples
from tests import ogb_sets

TINY = {
    "ogbl-ddi": Size(20, 150, (10, 8), 60, shared=True),
    "ogbl-collab": Size(40, 90, (10, 8), 70, features=5, shared=True),
    "ogbl-citation2": Size(50, 200, (10, 8), 4, features=5),
    "ogbl-biokg": Size(30, 90, (10, 8), 6, 5),
    "ogbl-wikikg2": Size(60, 90, (10, 8), 6, 5),
    "ogbn-arxiv": Size(40, 90, (10, 8), features=5, classes=3),
}
CONFIGS = {job.name: job.config for job in jobs("ogb", seeds=[0])}


def test_every_row_has_a_size() -> None:
    assert SIZES.keys() == TINY.keys()
    for config in CONFIGS.values():
        assert isinstance(config, AnyOgbConfig)
        assert config.benchmark in SIZES


TRAINED = [row for row, config in CONFIGS.items() if not isinstance(config, AutoencoderConfig)]


@pytest.mark.parametrize("row", [row for row in TRAINED if not row.endswith("_gpu")])
def test_a_configuration_is_measured_at_a_size(row: str) -> None:
    section = next(s for s in ("pairs", "nodes", "triples") if hasattr(CONFIGS[row], s))
    small = ["decoder.dim=8"] if section == "triples" else [f"{section}.dim=8"]
    path = table_jobs.CONFIGS / "ogb" / f"{row}.yaml"
    config = load_run_config(path, [*small, "runtime.threads=1"])
    assert isinstance(config, AnyOgbConfig)
    size = TINY[config.benchmark]
    data = synthetic(size)
    kind = {"pairs": OgbLinks, "nodes": OgbNodes, "triples": OgbTriples}[section]
    assert isinstance(data, kind)
    if isinstance(data, OgbNodes):
        assert len(data.edges) == size.edges and data.num_classes == size.classes
        parts = np.concatenate(list(data.nodes.values()))
        assert sorted(parts.tolist()) == list(range(size.nodes))
    elif isinstance(data, OgbLinks):
        assert len(data.pairs["train"]) == size.edges and data.num_nodes == size.nodes
        assert len(data.pairs["test"]) == size.held_out[1]
    else:
        assert data.triples["train"][:, 1].max() < size.relations
        assert data.head_negatives["test"].shape == (size.held_out[1], size.negatives)
    found = measure_config(config, size, steps=2)
    assert (found.nodes, found.edges) == (size.nodes, size.edges)
    assert found.steps >= 1 and found.parameters > 0 and found.peak_memory_mb > 100


def line(seed: int, test: float) -> Line:
    return Line(
        "ogb", "ogbl_ddi", 1.0, seed,
        {"hits@20": test, "valid_hits@20": test + 0.01, "parameters": 1_234_567}, {}, "command",
        "sha", f"{seed}" * 12, False, seed, 120.0, 900.0, "a processor, 2 cores, 24 GB", {},
    )  # fmt: skip


def test_a_submission_has_what_the_leaderboard_asks_for() -> None:
    told = submission("ogbl-ddi", [line(1, 0.9), line(0, 0.8)], "python -m benchmarks.ogb")
    parts = dict(one.split(":", 1) for one in told.splitlines())
    assert {key: value.strip() for key, value in parts.items()} == {
        "Data set": "ogbl-ddi", "Test hits@20": "0.8500 ± 0.0707",
        "Valid hits@20": "0.8600 ± 0.0707", "Seeds": "0 1", "Parameters": "1,234,567",
        "Hardware": "a processor, 2 cores, 24 GB", "Time of a run": "2 minutes",
        "Code": "0000000000, 1111111111", "Command": "python -m benchmarks.ogb",
    }  # fmt: skip
    assert "Test hits@20:  0.8000\n" in submission("ogbl-ddi", [line(0, 0.8)], "")


def test_seeds_are_run_once_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ogb_sets.write_ddi(tmp_path / "set")
    small = [f"data.path={folder}", "data.name=null", "pairs.dim=8", "pairs.epochs=1"]
    monkeypatch.setattr(reader, "_export_apart", ogb_sets.export_here)

    def small_jobs(table: str, rows: list[str], seeds: list[int]) -> list[Job]:
        path = table_jobs.CONFIGS / table / f"{rows[0]}.yaml"
        return [
            Job(table, rows[0], seed, load_run_config(
                path, [*small, f"runtime.seed={seed}"]
            )) for seed in seeds
        ]  # fmt: skip

    monkeypatch.setattr(ogb, "jobs", small_jobs)
    monkeypatch.setattr(ogb, "read_lines", lambda table: results.read_lines(table, tmp_path))
    ran: list[int] = []

    def execute(job: Any, resume: bool) -> None:
        ran.append(job.seed)
        reproduce.execute(
            job, tmp_path / "runs", tmp_path, resume,
            lambda config, at, again: reproduce.run_any(config, at, again),
        )  # fmt: skip

    monkeypatch.setattr(ogb, "execute", execute)
    for _ in range(2):
        assert ogb.main(["ogbl_ddi", "--seeds", "0", "1"]) == 0
    assert ran == [0, 1]
    told = capsys.readouterr().out
    assert told.count("Seeds:         0 1\n") == 2
    assert "python -m benchmarks.ogb ogbl_ddi --seeds 0 1" in told


def test_what_was_measured_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[Line] = []
    monkeypatch.setattr(ogb, "append", lambda table, found: lines.extend(found))
    config = CONFIGS["ogbl_ddi"]
    assert isinstance(config, AnyOgbConfig)
    found = ogb.Scale(5, 6, 7, 0.5, 0.25, 3, 1.0, 99.6)
    monkeypatch.setattr(commit, "_git", lambda *words: "")
    for steps, dirty in ((1, False), (2, True)):
        began = {"git_commit": "c" * 40, "dirty": dirty}
        one = replace(found, step_s=0.25 * steps**2)
        ogb.record("ogbl_ddi", config, one, {"steps": steps}, began, "the command")
    assert [(one.git_commit, one.dirty) for one in lines] == [("c" * 40, False), ("c" * 40, True)]
    assert [one.metrics["step_s"] for one in lines] == [0.25, 1.0]
    assert (lines[0].table, lines[0].row, lines[0].peak_memory_mb) == ("ogb_scale", "ogbl_ddi", 100)
    assert lines[0].config_sha256 != lines[1].config_sha256


@pytest.mark.parametrize(
    ("words", "told"),
    [([], "0 rows: give one, or --synthetic"), (["ogbl_ppa"], "--rows ogbl_ppa: not in ogb"),
     (["--synthetic", "ogbl_ppa"], "--rows ogbl_ppa: not in ogb")],
)  # fmt: skip
def test_mistakes_are_one_line(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ogb.main(words) == 2
    said = capsys.readouterr().err
    assert told in said and said.count("\n") == 1
