"""Data sets of the Open Graph Benchmark (Hu et al., NeurIPS 2020) from OGB's on-disk format."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from relgnn.errors import InputError

SPLITS = ("train", "valid", "test")
_HELD_OUT = ("valid", "test")
_Sets = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class OgbLinks:
    """Edges of one kind to be predicted (ogbl-ddi, ogbl-collab, ogbl-citation2).

    Attributes:
        num_nodes: N.
        pairs: by split, int64 [E, 2].
        negatives: of valid and test; integers [M, 2], pairs that all true ones are ranked among, or
            [E, K], K other targets of each true pair.
        features: float32 [N, d], or None.
    """

    num_nodes: int
    pairs: _Sets
    negatives: _Sets
    features: np.ndarray | None = None


@dataclass(frozen=True)
class OgbTriples:
    """A knowledge graph (ogbl-biokg, ogbl-wikikg2).

    Attributes:
        num_entities: N.
        num_relations: R.
        triples: by split, int64 [E, 3]: head, relation, tail. Entities count over all types.
        head_negatives, tail_negatives: of valid and test, integers [E, K], other ends of each
            triple.
        types: int64, how many entities each type has, which lie together; None without types.
    """

    num_entities: int
    num_relations: int
    triples: _Sets
    head_negatives: _Sets
    tail_negatives: _Sets
    types: np.ndarray | None = None


@dataclass(frozen=True)
class OgbNodes:
    """A graph whose nodes have classes (ogbn-arxiv).

    Attributes:
        edges: int64 [E, 2].
        features: float32 [N, d].
        labels: int64 [N].
        nodes: by split, int64.
    """

    edges: np.ndarray
    features: np.ndarray
    labels: np.ndarray
    nodes: _Sets

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.features)

    @property
    def num_classes(self) -> int:
        """The number of classes."""
        return int(self.labels.max()) + 1


def read_links(name: str, folder: Path) -> OgbLinks:
    """Read a data set of edges.

    Args:
        name: OGB's, such as "ogbl-ddi".
        folder: with `raw` and `split`; it is not written to.

    Raises:
        InputError: ogb is not installed, a file is missing, or one is not what it should be.
    """
    found = _read(name, folder)
    nodes = int(found["num_nodes"])
    pairs = _parts(found, "pairs", SPLITS, folder)
    negatives = _parts(found, "negatives", _HELD_OUT, folder)
    for split, part in pairs.items():
        _require(part.ndim == 2 and part.shape[1] == 2, folder, f"pairs of {split}", part, "[E, 2]")
        _require_ids(part, nodes, folder, f"pairs of {split}")
    for split, part in negatives.items():
        fits = part.ndim == 2 and (part.shape[1] == 2 or len(part) == len(pairs[split]))
        _require(fits, folder, f"negatives of {split}", part, "[M, 2], or a row for each pair")
        _require_ids(part, nodes, folder, f"negatives of {split}")
    features = found.get("features")
    if features is not None:
        fits = features.ndim == 2 and len(features) == nodes
        _require(fits, folder, "features", features, f"[{nodes}, d]")
    return OgbLinks(nodes, pairs, negatives, features)


def read_triples(name: str, folder: Path) -> OgbTriples:
    """Read a knowledge graph; see `read_links`.

    Raises:
        InputError: see there.
    """
    found = _read(name, folder)
    entities = int(found["num_nodes"])
    triples = _parts(found, "triples", SPLITS, folder)
    relations = 1 + max((int(x[:, 1].max()) for x in triples.values() if len(x)), default=-1)
    for split, part in triples.items():
        _require_ids(part[:, ::2], entities, folder, f"triples of {split}")
        _require_ids(part[:, 1], relations, folder, f"relations of {split}")
    sides = {}
    for side in ("head", "tail"):
        sides[side] = _parts(found, f"{side}_negatives", _HELD_OUT, folder)
        for split, part in sides[side].items():
            fits = part.ndim == 2 and len(part) == len(triples[split])
            what = f"{side} negatives of {split}"
            _require(fits, folder, what, part, f"a row for each of {len(triples[split])} triples")
            _require_ids(part, entities, folder, what)
    types = found.get("types")
    return OgbTriples(entities, relations, triples, sides["head"], sides["tail"], types)


def read_nodes(name: str, folder: Path) -> OgbNodes:
    """Read a data set of nodes with classes; see `read_links`.

    Raises:
        InputError: see there.
    """
    found = _read(name, folder)
    count = int(found["num_nodes"])
    parts = _parts(found, "nodes", SPLITS, folder)
    for split, part in parts.items():
        _require_ids(part, count, folder, f"nodes of {split}")
    _require_ids(found["edges"], count, folder, "edges")
    if "features" not in found:
        raise InputError(f"{folder}: nodes have no features; {name} needs raw/node-feat.csv.gz")
    for key in ("features", "labels"):
        _require(len(found[key]) == count, folder, key, found[key], f"a row for each of {count}")
    labels = found["labels"].astype(np.int64)
    if len(labels) and int(labels.min()) < 0:
        raise InputError(f"{folder}: label {labels.min()}; expected classes from 0")
    return OgbNodes(found["edges"], found["features"], labels, parts)


def _read(name: str, folder: Path) -> dict[str, np.ndarray]:
    """The arrays that `relgnn.data.ogb_export` makes of a folder, in a process of its own."""
    _require_files(folder)
    with tempfile.TemporaryDirectory() as temporary:
        out = Path(temporary) / "arrays.npz"
        _export_apart(name, folder, out)
        with np.load(out, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}


def _export_apart(name: str, folder: Path, out: Path) -> None:
    """Run `relgnn.data.ogb_export`; it has no terminal to ask on."""
    command = [sys.executable, "-m", "relgnn.data.ogb_export", name, str(folder), str(out)]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"code {done.returncode}"]
        raise InputError(
            f"{folder}: ogb cannot read it as {name} ({lines[-1]}); give the unpacked folder of "
            "that data set"
        )


def _require_files(folder: Path) -> None:
    """ogb would ask on the terminal whether to download what is not there."""
    raw = folder / "raw"
    names = ("data.npz", "edge_index_dict.npz", "edge.csv.gz", "triplet-type-list.csv.gz")
    if not any((raw / name).is_file() for name in names):
        raise InputError(
            f"{raw}: none of {', '.join(names)} is there; give the unpacked folder of a data set "
            "of OGB"
        )
    splits = [one for one in (folder / "split").glob("*") if one.is_dir()]
    if len(splits) != 1:
        raise InputError(
            f"{folder / 'split'}: holds {len(splits)} splits, expected one; keep the folder as OGB "
            "packs it"
        )


def _parts(
    found: dict[str, np.ndarray], field: str, splits: tuple[str, ...], folder: Path
) -> dict[str, np.ndarray]:
    for split in splits:
        if f"{split}/{field}" not in found:
            raise InputError(
                f"{folder}: split {split} has no {field.replace('_', ' ')}; is it a data set of "
                "another kind?"
            )
    return {split: found[f"{split}/{field}"] for split in splits}


def _require(fits: bool, folder: Path, what: str, given: np.ndarray, expected: str) -> None:
    if not fits:
        raise InputError(f"{folder}: {what} have shape {given.shape}; expected {expected}")


def _require_ids(ids: np.ndarray, count: int, folder: Path, what: str) -> None:
    if ids.size and (int(ids.min()) < 0 or int(ids.max()) >= count):
        raise InputError(
            f"{folder}: {what} have ids from {ids.min()} to {ids.max()}; expected 0 to {count - 1}"
        )
