"""What every run folder begins and ends with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from relgnn.config import RunConfig
from relgnn.data.relations import Relations
from relgnn.errors import InputError
from relgnn.runtime import Runtime, environment
from relgnn.training.checkpoint import atomic_file, load_json, save_json
from relgnn.training.spent import Spent

ENVIRONMENT = "environment.json"
"""What a result depends on besides its configuration: machine, versions, and the data's checksum
under their name."""

C = TypeVar("C", bound=RunConfig)
D = TypeVar("D")


@runtime_checkable
class Summed(Protocol):
    """Data that tell whether they are the same."""

    @property
    def name(self) -> str: ...

    @property
    def checksum(self) -> str: ...


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
        InputError: the folder holds a run already, the data are not as they should be, or not
            those that the resumed run began with.
    """
    spent = Spent(folder, resume)
    require_new(folder, resume)
    runtime = Runtime.from_config(config.runtime)
    data = load(config)
    if resume and isinstance(data, Summed):
        require_same_data(folder, data)
    begin(folder, config, data)
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


def require_finished(folder: Path) -> None:
    """Refuse the folder of a run that has not ended.

    Raises:
        InputError: it is one.
    """
    if not (folder / "metrics.json").is_file():
        raise InputError(
            f"{folder}: the run is not finished; go on with `relgnn run --resume {folder}`"
        )


def require_same_data(folder: Path, data: Summed) -> None:
    """Refuse data that are not those that a run began with.

    A folder without a run, or of a run that kept no checksum, is passed.

    Raises:
        InputError: the data have changed.
    """
    path = folder / ENVIRONMENT
    began = load_json(path).get("data") if path.is_file() else None
    if began is not None and list(began.values()) != [data.checksum]:
        raise InputError(
            f"{folder}: the data {data.name} have changed since the run began (checksum "
            f"{data.checksum[:8]}, was {', '.join(c[:8] for c in began.values())}); put the former "
            "data back, or start a new run in another folder"
        )


def begin(folder: Path, config: RunConfig, data: object) -> None:
    """Make the folder: the configuration, what a result depends on besides, the data's relations.

    Args:
        folder: may exist.
        config: of the run.
        data: their checksum is kept where they have one, and their relations where the run tells
            these apart.
    """
    with atomic_file(folder / "config.yaml") as path:
        path.write_text(config.to_yaml(), encoding="utf-8")
    found = {data.name: data.checksum} if isinstance(data, Summed) else None
    save_json(folder / ENVIRONMENT, environment() | ({"data": found} if found else {}))
    if not isinstance(data, Relations):
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
