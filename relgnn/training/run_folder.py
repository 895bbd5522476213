"""What every run folder begins and ends with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from relgnn.config import RunConfig
from relgnn.data.relations import Relations
from relgnn.errors import InputError
from relgnn.runtime import Runtime, environment
from relgnn.training.checkpoint import atomic_file, save_json
from relgnn.training.spent import Spent

C = TypeVar("C", bound=RunConfig)
D = TypeVar("D")


def carry_out(
    config: C,
    folder: Path,
    resume: bool,
    load: Callable[[C], D],
    work: Callable[[D, Runtime], dict[str, Any]],
) -> dict[str, Any]:
    """A run from its first to its last line.

    Args:
        config: what to do.
        folder: made here; must not hold a run yet, unless `resume`.
        resume: whether an interrupted run goes on.
        load: the data, checked before anything is written.
        work: does it, and returns what metrics.json holds besides time and memory.

    Returns:
        The content of metrics.json.

    Raises:
        InputError: the folder holds a run already, or the data are not as they should be.
    """
    spent = Spent(folder, resume)
    require_new(folder, resume)
    runtime = Runtime.from_config(config.runtime)
    data = load(config)
    begin(folder, config, data if isinstance(data, Relations) else None)
    with spent:
        metrics = work(data, runtime)
    finish(folder, metrics, spent)
    return metrics


def require_new(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds a run, unless that run is to go on.

    Raises:
        InputError: it holds one.
    """
    if (folder / "config.yaml").exists() and not resume:
        raise InputError(
            f"{folder}: holds a run already; give another --out, or go on with "
            f"`relgnn run --resume {folder}`"
        )


def begin(folder: Path, config: RunConfig, data: Relations | None = None) -> None:
    """Make the folder: the configuration, what a result depends on besides, the data's relations.

    Args:
        folder: may exist.
        config: of the run.
        data: where the run tells relations apart.
    """
    with atomic_file(folder / "config.yaml") as path:
        path.write_text(config.to_yaml(), encoding="utf-8")
    save_json(folder / "environment.json", environment())
    if data is None:
        return
    rows = zip(data.labels, data.label_names, data.descriptions, strict=True)
    with atomic_file(folder / "vocab" / "relations.tsv") as path:
        path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")


def finish(folder: Path, metrics: dict[str, Any], spent: Spent) -> None:
    """Add time and peak memory to the metrics, write them, drop what resumes.

    Args:
        folder: of the run.
        metrics: completed in place.
        spent: on the run.
    """
    metrics |= spent.total()
    save_json(folder / "metrics.json", metrics)
    shutil.rmtree(folder / "resume", ignore_errors=True)
