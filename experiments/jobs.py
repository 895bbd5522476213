"""What a table needs: its configurations, the runs they make, and which are not recorded yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.commit import may_be_dirty, tree_is_dirty
from experiments.results import ROOT, Line, counted, latest, ranks_path
from relgnn.config import (
    AnyConfig,
    BiEncoderConfig,
    Config,
    CrossEncoderConfig,
    EnsembleConfig,
    FewShotConfig,
    RerankConfig,
    load_run_config,
)
from relgnn.errors import InputError

CONFIGS = ROOT / "configs"
RUNS = ROOT.parent / "runs" / "experiments"
SEEDS = (0, 1, 2)
PLAIN = "rgcn"
"""The configuration of a loop table whose rows carry no prefix."""


@dataclass(frozen=True)
class Job:
    """One configuration and seed of a table."""

    table: str
    name: str
    seed: int
    config: AnyConfig

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells it from the other jobs of a command."""
        return self.table, self.name, self.seed

    @property
    def rows(self) -> dict[str, str]:
        """Row of the run -> row of the table."""
        if isinstance(self.config, FewShotConfig):
            rows = self.config.few_shot.rows
            return {row: self.name if row == "final" else f"{self.name}/{row}" for row in rows}
        loop = self.config.loop if isinstance(self.config, Config) else None
        if loop is None:
            return {"final": self.name}
        controls = [name for name in loop.controls if name != "read"]
        reading = ["round0+read", "loop+read"] if "read" in loop.controls else []
        prefix = "" if self.name == PLAIN else f"{self.name}/"
        return {row: prefix + row for row in ("round0", "loop", *controls, *reading)}


def table_configs(table: str) -> dict[str, Path]:
    """Configurations of a table by name.

    Raises:
        InputError: there is no such table.
    """
    found = _configs(table)
    if not found:
        known = ", ".join(sorted(path.name for path in CONFIGS.iterdir() if path.is_dir()))
        raise InputError(f"{table!r} is no table with configurations; known are {known}")
    return found


def _configs(table: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted((CONFIGS / table).glob("*.yaml"))}


def jobs(
    table: str,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    overrides: Sequence[str] = (),
) -> list[Job]:
    """What a table needs, seed by seed.

    Args:
        table: its name.
        rows: names of configurations, or rows that they make; all where empty.
        seeds: each is both the run's seed and the draw of the fraction.
        overrides: `key.sub=value` changes of every configuration.

    Raises:
        InputError: a row is unknown.
    """
    found = [
        Job(table, name, seed, load_run_config(
            path, [*overrides, f"runtime.seed={seed}", f"data.split_seed={seed}"]
        ))
        for seed in seeds
        for name, path in table_configs(table).items()
    ]  # fmt: skip
    known = {one for job in found for one in (job.name, *job.rows.values())}
    for row in rows:
        if row not in known:
            raise InputError(f"--rows {row}: not in {table}; known are {', '.join(sorted(known))}")
    return [job for job in found if not rows or {job.name, *job.rows.values()} & set(rows)]


def missing(job: Job, lines: Sequence[Line], dirty: bool) -> bool:
    """Whether the job is not recorded yet; a dirty line counts only in a dirty tree.

    All rows of a run are recorded at once, and a loop that kept round 0 has none that read.
    """
    known = latest(counted(lines, dirty))
    fraction, sha = job.config.data.fraction, job.config.sha256()
    return not any((job.table, row, fraction, job.seed, sha) in known for row in job.rows.values())


def run_folder(job: Job, runs: Path = RUNS) -> Path:
    """Where a job runs."""
    name = ranks_path(job.table, job.name, job.config.data.fraction, job.seed).stem
    return runs / job.table / name


def is_run_of(folder: Path, config: AnyConfig) -> bool:
    """Whether a folder holds a run of this configuration, finished or not."""
    path = folder / "config.yaml"
    return path.exists() and load_run_config(path).sha256() == config.sha256()


def members(job: Job) -> list[Job]:
    """The rows of the same seed whose run folders a job reads, those they read before.

    A name is a row of the same table, or `../<table>/<row>`. What is neither is a path, and must be
    there.
    """
    config = job.config
    names: list[str] = []
    if isinstance(config, BiEncoderConfig) and config.biencoder.distil is not None:
        names = [config.biencoder.distil.run]
    elif isinstance(config, CrossEncoderConfig):
        names = [config.crossencoder.of]
    elif isinstance(config, EnsembleConfig):
        names = config.ensemble.of
    elif isinstance(config, RerankConfig):
        read = [] if config.rerank.read is None else [config.rerank.read]
        names = [config.rerank.of, *config.rerank.views, *read]
    changes = [f"data.fraction={config.data.fraction}"]
    found = [
        one for table, row in (_table_row(job.table, name) for name in names)
        if row in _configs(table)
        for one in jobs(table, [row], [job.seed], changes) if one.name == row
    ]  # fmt: skip
    before = [earlier for one in found for earlier in members(one)]
    return list({one.key: one for one in (*before, *found)}.values())


def _table_row(table: str, name: str) -> tuple[str, str]:
    """The table and row that a name means in a configuration of a table."""
    parent, _, rest = name.partition("/")
    other, _, row = rest.partition("/")
    return (other, row) if parent == ".." and row else (table, name)


def is_kept(folder: Path, config: AnyConfig) -> bool:
    """Whether a folder holds a run of this configuration that need not be made anew.

    In a clean tree that is one whose code, too, is known to be committed.
    """
    return is_run_of(folder, config) and (tree_is_dirty() or not may_be_dirty(folder))


def has_ended(folder: Path, config: AnyConfig) -> bool:
    """Whether a folder holds a finished run of this configuration that need not be made anew."""
    return (folder / "metrics.json").exists() and is_kept(folder, config)


def is_finished(job: Job, runs: Path = RUNS) -> bool:
    """Whether a job's run folder is there, ended, and need not be made anew."""
    return has_ended(run_folder(job, runs), job.config)
