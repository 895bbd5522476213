"""Runs on small data sets in OGB's format: from a configuration to metrics, and back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from relgnn.config import AnyOgbConfig, load_config, load_run_config
from relgnn.data import ogb
from relgnn.errors import InputError
from relgnn.linkpred.nodes import NodeTask
from relgnn.linkpred.ogb_run import evaluate_ogb
from relgnn.linkpred.pairs import EdgeTask
from relgnn.linkpred.task import LinkPredictionTask
from relgnn.loop.runs import run_any
from relgnn.training import load_tensors
from tests import ogb_sets
from tests.answers import Call, require_one_line
from tests.linkpred.interrupted import interrupt

FIT = "dim: 16, epochs: 12, lr: 0.02, eval_every: 3, batch_size: 32, dropout: 0.1"
SECTIONS = {
    "ogbl-ddi": f"pairs: {{benchmark: ogbl-ddi, {FIT}}}",
    "ogbl-collab": f"pairs: {{benchmark: ogbl-collab, {FIT}, steps: 1}}",
    "ogbl-citation2": f"pairs: {{benchmark: ogbl-citation2, {FIT}, fan_out: [4, 4]}}",
    "ogbn-arxiv": "nodes: {benchmark: ogbn-arxiv, dim: 16, epochs: 30, lr: 0.02}",
    "ogbl-biokg": "triples: {benchmark: ogbl-biokg}\n"
    "train: {loss: self_adversarial, epochs: 3, batch_size: 16, patience: 5, eval_every: 1}\n"
    "gnn: {kind: rgcn, bases: 2}\ndecoder: {dim: 8}",
    "ogbl-wikikg2": "triples: {benchmark: ogbl-wikikg2, selected_among: 4}\n"
    "train: {loss: margin, epochs: 30, batch_size: 16, lr: 0.02, patience: null}\n"
    "gnn: {kind: none}\ndecoder: {dim: 16, dropout: 0.0}",
}
WRITERS: dict[str, Callable[[Path], Path]] = {
    "ogbl-ddi": ogb_sets.write_ddi, "ogbl-collab": ogb_sets.write_collab,
    "ogbl-citation2": ogb_sets.write_citation, "ogbn-arxiv": ogb_sets.write_arxiv,
    "ogbl-biokg": ogb_sets.write_biokg, "ogbl-wikikg2": ogb_sets.write_wikikg,
}  # fmt: skip
LEARNED = {"ogbl-ddi": 0.9, "ogbl-collab": 0.9, "ogbl-citation2": 0.9, "ogbn-arxiv": 0.8}
"""What a model of these sets reaches at least; guessing gives half of it or less."""


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogb, "_export_apart", ogb_sets.export_here)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(tmp_path_factory.mktemp(name)) for name, write in WRITERS.items()}


def config_of(folder: Path, name: str, *changes: str) -> AnyOgbConfig:
    path = folder.parent / f"{name}.yaml"
    head = f"data: {{path: {folder}}}\nruntime: {{device: cpu, threads: 1}}\n"
    path.write_text(head + SECTIONS[name], encoding="utf-8")
    config = load_run_config(path, changes)
    assert isinstance(config, AnyOgbConfig)
    return config


@pytest.mark.parametrize("name", SECTIONS)
def test_a_run_ends_with_ogbs_metric_and_can_be_measured_again(
    name: str, folders: dict[str, Path], tmp_path: Path, call: Call
) -> None:
    config = config_of(folders[name], name)
    folder = tmp_path / "run"
    metrics = run_any(config, folder)
    [metric] = metrics["test"]
    row = metrics["rows"]["final"]
    assert row.keys() == {metric, f"valid_{metric}", "parameters"}
    assert row[metric] == metrics["test"][metric]
    assert row[f"valid_{metric}"] == metrics["valid"][metric]
    assert 0 < row[metric] <= 1
    assert row[metric] >= LEARNED.get(name, 0)
    kept = load_tensors(folder / "checkpoint.safetensors")[0]
    assert sum(value.numel() for value in kept.values()) == row["parameters"]
    for split in ("valid", "test"):
        assert evaluate_ogb(folder, split) == metrics[split]
    told = json.loads(call("evaluate", folder, "--json").out)
    assert told == {"test": metrics["test"]}
    require_one_line(call("evaluate", folder, "--typed"), 2, "on a data set of OGB, which OGB")
    log = [json.loads(x) for x in (folder / "log.jsonl").read_text("utf-8").splitlines()]
    valid = [one["valid"].get(metric, 0.0) for one in log]
    if any(valid):
        assert metrics["epoch"] == 1 + valid.index(max(valid))


def test_what_is_solved_can_be_measured_again(
    folders: dict[str, Path], tmp_path: Path, call: Call
) -> None:
    changes = ["autoencoder.damping=[0.0,0.4]", "autoencoder.shrinkage=[0.3]"]
    path = tmp_path / "solved.yaml"
    path.write_text(
        f"data: {{path: {folders['ogbl-ddi']}}}\nautoencoder: {{benchmark: ogbl-ddi}}\n"
        "runtime: {device: cpu}\n",
        encoding="utf-8",
    )
    config, folder = load_run_config(path, changes), tmp_path / "run"
    metrics = run_any(config, folder)
    assert metrics["chosen"]["valid"] == metrics["valid"]["hits@20"]
    row = metrics["rows"]["final"]
    assert row["hits@20"] == metrics["test"]["hits@20"] >= LEARNED["ogbl-ddi"]
    assert row["parameters"] == ogb_sets.NODES**2
    for split in ("valid", "test"):
        assert evaluate_ogb(folder, split) == metrics[split]
    assert json.loads(call("evaluate", folder, "--json").out) == {"test": metrics["test"]}
    other = run_any(load_run_config(path, [*changes, "runtime.seed=1"]), tmp_path / "other")
    assert other["rows"] == metrics["rows"]


@pytest.mark.parametrize(
    ("name", "owner"),
    [("ogbl-ddi", EdgeTask), ("ogbl-citation2", EdgeTask), ("ogbn-arxiv", NodeTask),
     ("ogbl-biokg", LinkPredictionTask)],
)  # fmt: skip
def test_a_resumed_run_ends_as_an_uninterrupted_one(
    name: str, owner: Any, folders: dict[str, Path], tmp_path: Path
) -> None:
    config, folder = config_of(folders[name], name), tmp_path / "run"
    whole = run_any(config, tmp_path / "whole")
    interrupt(config, folder, owner, 5)
    with pytest.raises(InputError, match="is no finished run on a data set of OGB"):
        evaluate_ogb(folder, "test")
    again = run_any(config, folder, resume=True)
    assert again["rows"] == whole["rows"]
    ours, theirs = (
        load_tensors(x / "checkpoint.safetensors")[0] for x in (folder, tmp_path / "whole")
    )
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_seeds_differ_and_repeat(folders: dict[str, Path], tmp_path: Path) -> None:
    def weights(seed: int, at: str) -> dict[str, torch.Tensor]:
        config = config_of(
            folders["ogbl-ddi"], "ogbl-ddi", f"runtime.seed={seed}", "pairs.epochs=1"
        )
        run_any(config, tmp_path / at)
        return load_tensors(tmp_path / at / "checkpoint.safetensors")[0]

    first, again, other = weights(0, "a"), weights(0, "b"), weights(1, "c")
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["vectors.embedding"], other["vectors.embedding"])


def test_test_is_read_once(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, measure = [], EdgeTask.measure

    def noted(self: EdgeTask, split: str, among: int | None = None) -> float:
        asked.append(split)
        return measure(self, split, among)

    monkeypatch.setattr(EdgeTask, "measure", noted)
    run_any(config_of(folders["ogbl-ddi"], "ogbl-ddi"), tmp_path / "run")
    assert asked == ["valid"] * 5 + ["test"]


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("ogbl-ddi", "data.fraction=0.5", "OGB's splits are given whole; drop data.fraction"),
        ("ogbl-ddi", "pairs.fan_out=[3]", "fan_out has 1 numbers for steps=2"),
        ("ogbl-ddi", "pairs.benchmark=ogbl-ppa", "'pairs.benchmark' is 'ogbl-ppa'"),
        ("ogbl-biokg", "train.weight_decay=[0.0,0.1]", "train.weight_decay has several numbers"),
        ("ogbl-biokg", "train.loss=cross_entropy", "scores all entities, which here are many"),
        ("ogbl-biokg", "gnn.fan_out=[2,2]", "fan_out has 2 numbers for gnn.layers=1"),
        ("ogbl-wikikg2", "train.contrast={}", "train.contrast compares draws of the context"),
    ],
)
def test_a_wrong_configuration_is_one_line(
    name: str, change: str, words: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match=words.replace("[", r"\[")) as error:
        config_of(folders[name], name, change)
    assert "\n" not in str(error.value)


def test_other_kinds_are_told_apart(folders: dict[str, Path], tmp_path: Path) -> None:
    config_of(folders["ogbn-arxiv"], "ogbn-arxiv")
    with pytest.raises(InputError, match="is a run of a data set of OGB, expected link"):
        load_config(folders["ogbn-arxiv"].parent / "ogbn-arxiv.yaml")
    with pytest.raises(InputError, match="is no finished run on a data set of OGB"):
        evaluate_ogb(tmp_path, "test")
    config = config_of(folders["ogbn-arxiv"], "ogbl-ddi")
    with pytest.raises(InputError, match="ogb cannot read it|split train has no pairs|is it a"):
        run_any(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    named = config_of(folders["ogbl-ddi"], "ogbl-ddi", "data.path=null", "data.name=ogbl_none")
    with pytest.raises(InputError, match="ogbl_none was not found in"):
        run_any(named, tmp_path / "run")


def test_the_real_ogbl_ddi_is_read(shared_data: Path) -> None:
    if not (shared_data / "ogbl_ddi").is_dir():
        pytest.skip("ogbl_ddi is not here")
    links = ogb.read_links("ogbl-ddi", shared_data / "ogbl_ddi")
    assert links.num_nodes == 4267 and links.features is None
    assert {name: len(part) for name, part in links.pairs.items()} == {
        "train": 1067911, "valid": 133489, "test": 133489
    }  # fmt: skip
    assert {name: len(part) for name, part in links.negatives.items()} == {
        "valid": 101882, "test": 95599
    }  # fmt: skip


def test_the_command_tells_what_ogb_says(
    folders: dict[str, Path], tmp_path: Path, call: Call
) -> None:
    config_of(folders["ogbl-ddi"], "ogbl-ddi")
    path = folders["ogbl-ddi"].parent / "ogbl-ddi.yaml"
    told = call("run", path, "pairs.epochs=1", "--out", tmp_path / "run")
    assert told.status == 0
    assert "hits@20" in told.out and "valid" in told.out and "test" in told.out
    require_one_line(call("predict", tmp_path / "run", "--head", "1", "--relation", "0"), 2)
