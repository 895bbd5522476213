"""What every run folder begins and ends with."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence, Set
from contextlib import suppress
from pathlib import Path
from types import UnionType
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

from relgnn.config import RunConfig, config_of_run
from relgnn.data.graph import KnowledgeGraph
from relgnn.data.relations import Relations
from relgnn.errors import InputError
from relgnn.runtime import Runtime, environment
from relgnn.training.checkpoint import CHECKPOINT, load_json, save_json, save_text
from relgnn.training.spent import Spent

ENVIRONMENT = "environment.json"
"""What a result depends on besides its configuration: machine, versions, and the data's checksum
under their name."""

WRITTEN = ("metrics.json", ENVIRONMENT, "log.jsonl", "resume", CHECKPOINT)
"""What a run writes over, and what tells that a folder is not free for one."""

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

    A folder in which nothing was trained yet is taken back where the user's input turns out to be
    wrong, so that the same command works once that is mended.

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
            those that the resumed run began with; or `work` raises it.
    """
    spent = Spent(folder, resume)
    require_new(folder, resume)
    runtime = Runtime.from_config(config.runtime)
    data = load(config)
    if resume and isinstance(data, Summed):
        require_same_data(folder, data)
    before = _files(folder)
    begin(folder, config, data)
    begun = _files(folder) - before
    try:
        with spent:
            metrics = work(data, runtime)
    except InputError:
        begun.add(spent.path)
        if not resume and _files(folder) - before <= begun:
            take_back(folder, begun)
        raise
    finish(folder, metrics, spent)
    return metrics


def require_new(folder: Path, resume: bool) -> None:
    """Refuse a folder that holds a run, unless that run is to go on, or other files so named.

    Raises:
        InputError: it holds one, or is a file.
    """
    if folder.is_file():
        raise InputError(f"{folder}: is a file; give a folder for the run")
    if (folder / "config.yaml").exists() and not resume:
        raise InputError(
            f"{folder}: holds a run already; give another --out, or go on with "
            f"`relgnn run --resume {folder}`"
        )
    taken = next((name for name in WRITTEN if (folder / name).exists()), None)
    if taken is not None and not resume:
        raise InputError(
            f"{folder}: holds {taken}, which a run would overwrite; give another --out"
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


def finished_config(folder: Path, kind: type[C] | UnionType, what: str) -> C:
    """The configuration of a finished run of a certain kind.

    Args:
        folder: of the run.
        kind: class of the configuration, or several: `A | B`.
        what: such runs' name in the error, such as "inductive run".

    Raises:
        InputError: there is no such run, or it has not ended.
    """
    config = config_of_run(folder)
    if not isinstance(config, kind) or not (folder / "metrics.json").is_file():
        raise InputError(
            f"{folder}: is no finished {what}; give the folder of one, or end it with "
            f"`relgnn run --resume {folder}`"
        )
    return cast("C", config)


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
    """Make the folder: the configuration, what a result depends on besides, what the ids name.

    Args:
        folder: may exist.
        config: of the run.
        data: their checksum is kept where they have one; the sizes of the split and both
            vocabularies where they are a graph; their relations where the run tells these apart.
    """
    found = {data.name: data.checksum} if isinstance(data, Summed) else None
    kept = {"config.yaml": config.to_yaml()}
    if isinstance(data, KnowledgeGraph):
        kept["vocab/entities.tsv"] = _lines(data.entities, data.entity_names)
        kept["vocab/relations.tsv"] = _lines(data.relations, data.relation_names)
    elif isinstance(data, Relations):
        kept["vocab/relations.tsv"] = _lines(data.labels, data.label_names, data.descriptions)
    for name, text in kept.items():
        save_text(folder / name, text)
    facts: dict[str, dict[str, Any]] = {
        ENVIRONMENT: environment() | ({"data": found} if found else {})
    }
    if isinstance(data, KnowledgeGraph):
        sizes = {part: len(getattr(data, part)) for part in ("train", "valid", "test", "hidden")}
        drawn = config.model_dump(include={"data": {"fraction", "split_seed"}})["data"]
        facts["splits.json"] = {"data": data.name} | drawn | sizes
    for name, content in facts.items():
        save_json(folder / name, content)


def take_back(folder: Path, begun: Set[Path]) -> None:
    """Remove the files that a run began with, and the folders that held nothing else."""
    for path in begun:
        path.unlink(missing_ok=True)
    for empty in (folder / "vocab", folder / "resume", folder):
        with suppress(OSError):
            empty.rmdir()


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


def _lines(*columns: Sequence[str]) -> str:
    return "".join("\t".join(row) + "\n" for row in zip(*columns, strict=True))


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}
