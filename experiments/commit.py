"""The code behind a line of results: its commit, and whether anything differs from it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.results import ROOT, Line, counted, read_lines
from relgnn.runtime import peak_memory_mb
from relgnn.training import load_json, save_json

CODE = (
    "relgnn",
    "benchmarks",
    "experiments/*.py",
    "experiments/configs",
    "pyproject.toml",
    "requirements.lock",
)
"""What can change a number: uncommitted changes here make a line dirty."""

FILE = "provenance.json"
"""In a run folder: the code that made it."""


def provenance(*runs: Path) -> dict[str, Any]:
    """The commit that a run begins with, `git_commit`, and whether the code differs, `dirty`.

    Args:
        runs: folders of runs that are read; it is dirty, too, where one of them is or may be.
    """
    commit = _git("rev-parse", "HEAD")
    dirty = tree_is_dirty() or any(map(may_be_dirty, runs))
    return {"git_commit": commit or "unknown", "dirty": dirty}


def at_end(began: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of what has just been measured: dirty if the code was, or is now.

    Args:
        began: `provenance` before it.
    """
    return {**began, "dirty": began["dirty"] or tree_is_dirty()}


@dataclass(frozen=True)
class Begun:
    """What is being measured in this process.

    Attributes:
        code: its provenance, before it.
        started: the moment, of `time.perf_counter`.
    """

    code: dict[str, Any]
    started: float

    def ended(self) -> tuple[dict[str, Any], dict[str, float]]:
        """Its provenance and its cost, now that it is over: `code` and `cost` of a line."""
        code, seconds = at_end(self.code), time.perf_counter() - self.started
        return code, {"seconds": seconds, "peak_memory_mb": peak_memory_mb()}


def begin(*runs: Path) -> Begun:
    """Begin to measure on folders of runs, or on none; see `provenance`."""
    return Begun(provenance(*runs), time.perf_counter())


def may_be_dirty(run: Path) -> bool:
    """Whether uncommitted code worked on a run, or nobody wrote down which code did."""
    path = run / FILE
    return not path.is_file() or bool(load_json(path)["dirty"])


def stamp(run: Path) -> dict[str, Any]:
    """Write down which code works on a run, when it begins, goes on, and has ended.

    Returns:
        Its provenance: dirty unless all of it ran on the code of the commit it began with.
    """
    path = run / FILE
    began = load_json(path) if path.is_file() else provenance()
    code = {**began, "dirty": began["dirty"] or differs(began["git_commit"])}
    save_json(path, code)
    return code


def tree_is_dirty() -> bool:
    """Whether code or configurations differ from the commit, or there is no commit."""
    status = _git("status", "--porcelain", "--", *CODE)
    return status is None or bool(status)


def differs(commit: str) -> bool:
    """Whether code or configurations differ from those of `commit`."""
    return tree_is_dirty() or _git("diff", "--quiet", commit, "--", *CODE) is None


def warn_if_dirty() -> bool:
    """Say on standard error that what follows will not count, where the tree is dirty.

    Returns:
        Whether it is.
    """
    dirty = tree_is_dirty()
    if dirty:
        print("uncommitted code: these lines will be dirty, and never shown", file=sys.stderr)
    return dirty


def recorded(table: str, root: Path, again: bool) -> list[Line]:
    """The lines of a table that a program need not make, after `warn_if_dirty`.

    Args:
        table: its name.
        root: folder of results.
        again: whether all are to be made anew, so that none counts.
    """
    dirty = warn_if_dirty()
    return [] if again else counted(read_lines(table, root), dirty)


def _git(*arguments: str) -> str | None:
    """What a git command prints; None where it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT.parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
