"""A checkout without uncommitted code, whatever the one that runs the tests looks like."""

from __future__ import annotations

import pytest

from experiments import commit

COMMIT = "c" * 40


@pytest.fixture
def clean_tree(monkeypatch: pytest.MonkeyPatch) -> str:
    """Git says so; returns the commit that it names."""
    monkeypatch.setattr(commit, "_git", lambda *words: COMMIT if words[0] == "rev-parse" else "")
    return COMMIT


@pytest.fixture
def dirty_tree(monkeypatch: pytest.MonkeyPatch) -> str:
    """Git tells of a changed file; returns the commit that it names."""
    said = {"rev-parse": COMMIT, "status": " M relgnn/runtime.py"}
    monkeypatch.setattr(commit, "_git", lambda *words: said.get(words[0]))
    return COMMIT
