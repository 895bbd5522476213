"""What a line of results says of the code that made it, and which lines are not made again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from experiments import commit
from experiments.commit import (
    CODE,
    FILE,
    at_end,
    begin,
    differs,
    may_be_dirty,
    provenance,
    recorded,
    stamp,
    tree_is_dirty,
)
from experiments.results import append
from relgnn.training import load_json, save_json
from tests.conftest import ROOT
from tests.experiments.lines import LINE, TABLE


@pytest.mark.usefixtures("clean_tree")
def test_a_clean_tree_is_told_and_warns_of_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert provenance() == {"git_commit": "c" * 40, "dirty": False}
    assert at_end(provenance()) == provenance()
    assert not differs("c" * 40) and not commit.warn_if_dirty()
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("dirty_tree")
def test_a_tree_that_differs_spoils_what_began_clean(capsys: pytest.CaptureFixture[str]) -> None:
    began = {"git_commit": "b" * 40, "dirty": False}
    assert at_end(began) == {"git_commit": "b" * 40, "dirty": True}
    assert differs("b" * 40) and commit.warn_if_dirty()
    assert "uncommitted code: these lines will be dirty" in capsys.readouterr().err


def test_what_was_measured_tells_its_code_and_cost(
    clean_tree: str, request: pytest.FixtureRequest
) -> None:
    begun = begin()
    code, cost = begun.ended()
    assert code == {"git_commit": clean_tree, "dirty": False}
    assert cost.keys() == {"seconds", "peak_memory_mb"} and min(cost.values()) > 0
    request.getfixturevalue("dirty_tree")
    assert begun.ended()[0] == {"git_commit": clean_tree, "dirty": True}


@pytest.mark.usefixtures("clean_tree")
def test_what_began_dirty_stays_dirty() -> None:
    assert at_end({"git_commit": "b" * 40, "dirty": True})["dirty"]


@pytest.mark.usefixtures("clean_tree")
def test_what_is_measured_on_a_dirty_run_is_dirty(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    save_json(one / FILE, {"git_commit": "b" * 40, "dirty": False})
    save_json(other / FILE, {"git_commit": "b" * 40, "dirty": True})
    assert not may_be_dirty(one) and may_be_dirty(other)
    assert provenance(one) == provenance() and provenance(one, other)["dirty"]
    # nobody knows which code made it
    assert provenance(tmp_path)["dirty"]


def test_a_run_is_clean_only_if_all_of_it_was(
    tmp_path: Path, clean_tree: str, request: pytest.FixtureRequest
) -> None:
    assert stamp(tmp_path) == stamp(tmp_path) == {"git_commit": clean_tree, "dirty": False}
    request.getfixturevalue("dirty_tree")
    assert stamp(tmp_path)["dirty"] and load_json(tmp_path / FILE)["dirty"]
    request.getfixturevalue("monkeypatch").undo()
    assert stamp(tmp_path) == {"git_commit": clean_tree, "dirty": True}


def test_another_commit_differs_where_its_code_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "_git", lambda *words: "" if words[0] == "status" else None)
    assert not tree_is_dirty() and differs("b" * 40)


def test_where_git_knows_nothing_the_tree_is_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commit, "ROOT", tmp_path / "experiments")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert provenance() == {"git_commit": "unknown", "dirty": True}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert tree_is_dirty()


def test_what_can_change_a_number_is_there() -> None:
    assert all(list(ROOT.glob(pattern)) for pattern in CODE)


def test_a_dirty_line_counts_in_a_dirty_tree_alone(
    tmp_path: Path, clean_tree: str, request: pytest.FixtureRequest
) -> None:
    append(TABLE, [LINE, replace(LINE, seed=1, dirty=True)], tmp_path)
    assert [line.seed for line in recorded(TABLE, tmp_path, again=False)] == [0]
    assert recorded(TABLE, tmp_path, again=True) == []
    request.getfixturevalue("dirty_tree")
    assert [line.seed for line in recorded(TABLE, tmp_path, again=False)] == [0, 1]
