"""Rows that read other rows' runs: these are trained first, and once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments import jobs as table_of
from experiments import reproduce
from experiments.commit import stamp
from experiments.jobs import Job, jobs, members, run_folder
from experiments.side_by_side import run_all
from relgnn.config import AnyConfig
from relgnn.training import load_json, save_json

ROWS = {
    "complex": "gnn: {kind: none}",
    "biencoder": "biencoder: {distil: {run: complex}}",
    "rules": "rules: {}",
    "ensemble": "ensemble: {of: [biencoder, complex, somewhere/else]}",
    "reranked": "rerank: {of: ensemble, views: [rules]}",
    "read": "rerank: {of: rules, read: ../loop_toy/rules}",
}
LOOP = "loop: {rounds: 1}"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    rows = {"lp_toy": ROWS, "loop_toy": {"rules": LOOP}}
    for name, sections in rows.items():
        folder = tmp_path / "configs" / name
        folder.mkdir(parents=True)
        for row, section in sections.items():
            (folder / f"{row}.yaml").write_text(f"data: {{name: codex_s}}\n{section}\n")
    monkeypatch.setattr(table_of, "CONFIGS", tmp_path / "configs")
    return "lp_toy"


def job(table: str, row: str, seed: int = 1) -> Job:
    return next(one for one in jobs(table, [row], [seed], ["data.fraction=0.3"]))


def test_members_come_before_who_reads_them(table: str) -> None:
    assert members(job(table, "complex")) == []
    assert [one.name for one in members(job(table, "biencoder"))] == ["complex"]
    assert [one.name for one in members(job(table, "ensemble"))] == ["complex", "biencoder"]
    found = members(job(table, "reranked"))
    assert [one.name for one in found] == ["complex", "biencoder", "ensemble", "rules"]
    for one in found:
        assert one.seed == one.config.runtime.seed == one.config.data.split_seed == 1
        assert one.config.data.fraction == 0.3


def test_a_member_may_be_a_row_of_another_table(table: str) -> None:
    one = job(table, "read")
    rules, loop = members(one)
    # both are called rules
    assert (rules.table, loop.table) == ("lp_toy", "loop_toy")
    assert loop.config.data == one.config.data
    began: list[Job] = []
    run_all([one, loop, rules], began.append, 2)
    assert began[2] == one
    plan = reproduce.planned([one], [], again=False, dirty=False)
    assert [x.key for x in plan] == [rules.key, loop.key, one.key]
    read = run_folder(one).parent / "../loop_toy/rules-30-1"
    assert read.resolve() == run_folder(loop).resolve()


def test_members_are_trained_once(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_tree: None
) -> None:
    trained: list[str] = []

    def train(one: Job, **_: Any) -> None:
        trained.append(one.name)
        folder = run_folder(one, tmp_path / "runs")
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text(one.config.to_yaml())
        save_json(folder / "metrics.json", {})
        stamp(folder)

    monkeypatch.setattr(reproduce, "execute", train)
    monkeypatch.setattr(reproduce, "read_lines", lambda *_: [])
    finished = reproduce.is_finished
    monkeypatch.setattr(
        reproduce, "is_finished", lambda one: finished(one, tmp_path / "runs")
    )  # fmt: skip
    assert reproduce.main([table, "--rows", "ensemble", "--seeds", "0"]) == 0
    assert trained == ["complex", "biencoder", "ensemble"]
    assert reproduce.main([table, "--rows", "reranked", "--seeds", "0"]) == 0
    assert trained[3:] == ["rules", "reranked"]


def test_all_is_made_anew_in_the_order_in_which_it_is_read(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reproduce, "is_finished", lambda _: True)
    todo = [one for row in ROWS for one in jobs(table, [row], [0]) if one.name == row]
    every = sorted(todo, key=lambda one: one.name, reverse=True)
    plan = [one.name for one in reproduce.planned(every, [], again=True, dirty=False)]
    assert sorted(plan) == sorted(ROWS)
    for one in todo:
        own = [other.name for other in members(one) if other.table == table]
        assert all(plan.index(other) < plan.index(one.name) for other in own)


def test_a_run_is_made_once(table: str, tmp_path: Path, clean_tree: None) -> None:
    one, runs, begun = job(table, "rules"), tmp_path / "runs", []

    def train(config: AnyConfig, folder: Path, resume: bool) -> None:
        begun.append(resume)
        (folder / "config.yaml").write_text(config.to_yaml())
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            reproduce.made(one, runs, tmp_path, train)
    # what was interrupted goes on
    assert begun == [False, True]
    save_json(run_folder(one, runs) / "metrics.json", {})
    assert reproduce.made(one, runs, tmp_path, train) == run_folder(one, runs)
    assert begun == [False, True]


def test_a_run_of_uncommitted_code_is_made_anew(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    one, runs, began = job(table, "rules"), tmp_path / "runs", []
    monkeypatch.setattr(reproduce, "save_ranks", lambda *_: None)

    def train(config: AnyConfig, folder: Path, resume: bool) -> None:
        began.append((sorted(path.name for path in folder.iterdir()), resume))
        (folder / "config.yaml").write_text(config.to_yaml())
        save_json(folder / "environment.json", {"hardware": "two cores", "versions": {}})
        save_json(folder / "metrics.json", {"rows": {}, "seconds": 1.0, "peak_memory_mb": 1.0})

    request.getfixturevalue("dirty_tree")
    folder = reproduce.made(one, runs, tmp_path, train)
    assert reproduce.made(one, runs, tmp_path, train) == folder
    request.getfixturevalue("clean_tree")
    assert not reproduce.is_finished(one, runs)
    for _ in range(2):
        assert reproduce.made(one, runs, tmp_path, train) == folder
    # nothing of the former run is left
    assert began == 2 * [(["provenance.json"], False)]
    assert not load_json(folder / "provenance.json")["dirty"]
    # nor is one taken of which nobody knows the code
    (folder / "provenance.json").unlink()
    assert not reproduce.is_finished(one, runs)
