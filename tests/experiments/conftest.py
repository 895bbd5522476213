"""A checkout without uncommitted code, whatever the one that runs the tests looks like."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from experiments import commit, opened
from relgnn.training import save_json

COMMIT = "c" * 40


@pytest.fixture
def clean_tree(monkeypatch: pytest.MonkeyPatch) -> str:
    """Git says so; returns the commit that it names."""
    monkeypatch.setattr(commit, "_git", lambda *words: COMMIT if words[0] == "rev-parse" else "")
    return COMMIT


@pytest.fixture
def known_run(own_run: Path, tmp_path: Path, clean_tree: str) -> Path:
    """A copy of the user's own run, of which it is known that committed code made it."""
    folder = tmp_path / "known" / own_run.name
    shutil.copytree(own_run, folder)
    save_json(folder / commit.FILE, commit.provenance())
    return folder


@pytest.fixture
def on_own_run(
    own_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[ModuleType], Path]:
    """Has a program that opens runs measure the user's own; gives its folder of results."""

    def prepare(program: ModuleType) -> Path:
        monkeypatch.setattr(program, "RESULTS", tmp_path)
        # the user's own data have a path and no name
        monkeypatch.setattr(program, "DATA", None)
        monkeypatch.setattr(opened, "base_run", lambda seed: own_run)
        return tmp_path

    return prepare


@pytest.fixture
def dirty_tree(monkeypatch: pytest.MonkeyPatch) -> str:
    """Git tells of a changed file; returns the commit that it names."""
    said = {"rev-parse": COMMIT, "status": " M relgnn/runtime.py"}
    monkeypatch.setattr(commit, "_git", lambda *words: said.get(words[0]))
    return COMMIT
