"""Results: one line a run in `results/<table>.jsonl`, append-only; the ranks behind the claims."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from relgnn.config import AnyConfig
from relgnn.data import STRATA
from relgnn.errors import InputError, MachineError
from relgnn.ranking.metrics import read_ranks
from relgnn.ranking.ranks import SIDES
from relgnn.ranking.sampled import HITS_10_OF_50
from relgnn.ranking.strata import UNSEEN_RELATION
from relgnn.runtime import environment
from relgnn.training import atomic_file
from relgnn.training.appending import append_lines

ROOT = Path(__file__).resolve().parent
RESULTS = ROOT / "results"

METRICS = ("mrr", "hits@1", "hits@3", "hits@10")

Key = tuple[str, str, float, int, str]


@dataclass(frozen=True)
class Line:
    """One row of one run.

    Attributes:
        table, row, fraction, seed, config_sha256: together the key; the last line of a key wins.
        metrics: figures, 0 to 1.
        expected: published figures by metric, and their `source`.
        command: what made the line.
        git_commit, dirty: the code; a dirty line is never rendered.
        split_seed: draw of the fraction.
        seconds, peak_memory_mb: of the whole run, which may have made several rows.
        hardware, versions: where it ran.
        peer: name and version of what a speed was compared with.
        threads: of the run, where it was written down; more than one may move a figure.
    """

    table: str
    row: str
    fraction: float
    seed: int
    metrics: dict[str, float]
    expected: dict[str, float | str]
    command: str
    config_sha256: str
    git_commit: str
    dirty: bool
    split_seed: int
    seconds: float
    peak_memory_mb: float
    hardware: str
    versions: dict[str, str]
    peer: str | None = None
    threads: int | None = None

    @property
    def key(self) -> Key:
        """What a later line must equal to replace this one."""
        return self.table, self.row, self.fraction, self.seed, self.config_sha256


def tables(root: Path = RESULTS) -> list[str]:
    """Names of the tables that have results."""
    return sorted(path.stem for path in root.glob("*.jsonl"))


def read_lines(table: str, root: Path = RESULTS) -> list[Line]:
    """Every line of a table, in the order they were written; none where there is no file.

    Raises:
        InputError: a line is not JSON or lacks a field.
    """
    path = root / f"{table}.jsonl"
    if not path.exists():
        return []
    found = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            content = json.loads(text)
            content = {"peer": None, "threads": None} | content
            found.append(Line(**{field.name: content[field.name] for field in fields(Line)}))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}:{number}: no line of results ({error!r}); restore the file from git"
            ) from error
    return found


def latest(lines: Iterable[Line]) -> dict[Key, Line]:
    """The last line of every key."""
    return {line.key: line for line in lines}


def counted(lines: Iterable[Line], dirty: bool) -> list[Line]:
    """Lines that need not be made again.

    Args:
        lines: of a table.
        dirty: whether the tree is; a dirty line counts only in a dirty tree.
    """
    return [line for line in lines if dirty or not line.dirty]


def append(table: str, lines: Sequence[Line], root: Path = RESULTS) -> None:
    """Add lines to a table, all or none, on disk before this returns.

    Raises:
        MachineError: they cannot be written.
    """
    path = root / f"{table}.jsonl"
    text = "".join(json.dumps(asdict(line), ensure_ascii=False) + "\n" for line in lines)
    try:
        append_lines(path, lambda last: text)
    except OSError as error:
        raise MachineError(f"{path}: not written ({error.strerror}); free space there") from error


def make_line(
    table: str,
    row: str,
    seed: int,
    config: AnyConfig,
    metrics: dict[str, float],
    expected: dict[str, float | str],
    command: str,
    code: Mapping[str, Any],
    cost: Mapping[str, Any],
    environment: Mapping[str, Any],
) -> Line:
    """A line of results.

    Args:
        table, row, seed: where it stands.
        config: what was run.
        metrics, expected: ours, and what was expected.
        command: that makes it again.
        code: `git_commit` and `dirty`, see `experiments.commit`.
        cost: `seconds` and `peak_memory_mb`, of the run's metrics.json.
        environment: of the run's environment.json.
    """
    return Line(
        table=table, row=row, fraction=config.data.fraction, seed=seed,
        metrics=metrics, expected=expected, command=command, config_sha256=config.sha256(),
        git_commit=code["git_commit"], dirty=code["dirty"], split_seed=config.data.split_seed,
        seconds=round(cost["seconds"], 1), peak_memory_mb=round(cost["peak_memory_mb"]),
        hardware=environment["hardware"], versions=environment["versions"],
        threads=environment.get("threads"),
    )  # fmt: skip


def append_rows(
    table: str,
    rows: Mapping[str, dict[str, float]],
    seed: int,
    config: AnyConfig,
    command: str,
    code: Mapping[str, Any],
    cost: Mapping[str, Any],
    environment: Mapping[str, Any],
    root: Path,
) -> None:
    """Add rows that were measured together, of which nothing was expected.

    Args:
        table, seed: where they stand.
        rows: row -> metrics.
        config, command, code, cost, environment: of all of them, see `make_line`.
        root: folder of results.

    Raises:
        MachineError: they cannot be written.
    """
    lines = [
        make_line(table, row, seed, config, metrics, {}, command, code, cost, environment)
        for row, metrics in rows.items()
    ]
    append(table, lines, root)


def measured_line(
    table: str,
    row: str,
    metrics: dict[str, float],
    settings: Any,
    command: str,
    code: Mapping[str, Any],
    seconds: float,
    memory_mb: float,
    *,
    seed: int = 0,
    peer: str | None = None,
) -> Line:
    """A line of what was measured on this machine without a configuration, on whole data.

    Args:
        table, row, seed: where it stands.
        metrics: ours.
        settings: what they depend on, as JSON holds it; hashed in a configuration's place.
        command: that makes it again.
        code: `git_commit` and `dirty`, see `experiments.commit`.
        seconds, memory_mb: that it took.
        peer: name and version of what it was compared with.
    """
    machine = environment()
    return Line(
        table=table, row=row, fraction=1.0, seed=seed, metrics=metrics, expected={},
        command=command,
        config_sha256=hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest(),
        git_commit=code["git_commit"], dirty=code["dirty"], split_seed=0, seconds=seconds,
        peak_memory_mb=memory_mb, hardware=machine["hardware"], versions=machine["versions"],
        peer=peer,
    )  # fmt: skip


def line_metrics(test: dict[str, Any]) -> dict[str, float]:
    """A line's metrics: of ranks, both sides and realistic, or what a classifier scored."""
    if "all" not in test:
        return dict(test)
    whole = test["all"]["both"]["realistic"]
    found = {name: whole[name] for name in METRICS}
    against = test["all"]["both"].get("pessimistic", {})
    if HITS_10_OF_50 in against:
        found[HITS_10_OF_50] = against[HITS_10_OF_50]
    for stratum in (*STRATA, UNSEEN_RELATION):
        if stratum in test:
            found[f"mrr_{stratum}"] = test[stratum]["both"]["realistic"]["mrr"]
    return found


def expected_of(config: AnyConfig, row: str) -> dict[str, float | str]:
    """Expected figures of a run's row: keys `row/metric`, or `metric` for the result itself."""
    found: dict[str, float | str] = {}
    for key, value in config.expected.items():
        owner, _, metric = key.rpartition("/")
        if owner == row or (not owner and row in ("final", "loop")):
            found[metric] = value
    if found and config.source:
        found["source"] = config.source
    return found


def ranks_path(table: str, config: str, fraction: float, seed: int, root: Path = RESULTS) -> Path:
    """Where the ranks of a configuration are kept: `<config>-<percent given>-<seed>`."""
    return root / "ranks" / table / f"{config}-{100 * fraction:g}-{seed}.parquet"


def save_ranks(run: Path, rows: Iterable[str], path: Path) -> None:
    """Keep the realistic rank of every test query of a run, compactly.

    Args:
        run: a run folder, with `ranks/<row>.tsv`.
        rows: which.
        path: Parquet file with columns row, side, triple (position in test) and rank.
    """
    parts = []
    for row in rows:
        ranks = read_ranks(run / "ranks" / f"{row}.tsv")
        for side in SIDES:
            values = ranks[side][1].realistic.astype(np.float32)
            index = np.arange(len(values), dtype=np.int32)
            parts.append(pd.DataFrame({"row": row, "side": side, "triple": index, "rank": values}))
    frame = pd.concat(parts, ignore_index=True).astype({"row": "category", "side": "category"})
    with atomic_file(path) as partial:
        frame.to_parquet(partial, index=False, compression="zstd", compression_level=12)


def load_ranks(path: Path) -> dict[str, np.ndarray]:
    """Row -> realistic ranks, float64 [sides, T].

    Raises:
        InputError: the file is not there.
    """
    if not path.exists():
        raise InputError(f"{path}: no ranks; run python -m experiments.reproduce from a clean tree")
    frame = pd.read_parquet(path).astype({"row": str, "side": str})
    found: dict[str, np.ndarray] = {}
    for row, part in frame.groupby("row", sort=False):
        sides: list[Any] = [
            part[part["side"] == side].sort_values("triple")["rank"].to_numpy(float)
            for side in SIDES
        ]
        found[str(row)] = np.stack(sides)
    return found


def strata_path(table: str, root: Path = RESULTS) -> Path:
    """Where the strata of a loop table's test triples are kept, in the order of its ranks."""
    return root / "ranks" / table / "strata.parquet"


def save_strata(masks: Mapping[str, np.ndarray], path: Path) -> None:
    """Keep which test triples are in each stratum.

    Args:
        masks: stratum -> bool [T].
        path: Parquet file with one column a stratum.
    """
    with atomic_file(path) as partial:
        pd.DataFrame(masks).to_parquet(partial, index=False, compression="zstd")


def load_strata(path: Path) -> dict[str, np.ndarray]:
    """Stratum -> bool [T], as they were saved.

    Raises:
        InputError: the file is not there.
    """
    if not path.exists():
        raise InputError(f"{path}: no strata; run python -m experiments.claims")
    frame = pd.read_parquet(path)
    return {str(name): frame[name].to_numpy(bool) for name in frame}
