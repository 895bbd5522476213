"""Small data sets in OGB's on-disk format, written by ogb's own saver."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np

from relgnn.data.ogb_package import ogb_module

TYPES = {"disease": 5, "drug": 7}
NODES = 24


def export_here(name: str, folder: Path, out: Path) -> None:
    """What stands in for the process that reads pickles, where starting one is not the point."""
    from relgnn.data.ogb_export import export

    np.savez(out, **export(name, folder))


def save(folder: Path, name: str, graph: dict[str, Any], split: Any, labels: Any = None) -> Path:
    """Write a data set and return its folder."""
    saver_of = ogb_module("ogb.io").DatasetSaver
    mapping = folder / "mapping"
    mapping.mkdir(parents=True)
    (mapping / "README.md").write_text("numbers are names", encoding="utf-8")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        saver = saver_of(name, "num_nodes_dict" in graph, 1, root=str(folder / "saved"))
        saver.save_graph_list([graph])
        saver.save_split(split, "random")
        saver.copy_mapping_dir(str(mapping))
        if labels is not None:
            saver.save_target_labels(labels)
            saver.save_task_info("multiclass classification", "acc", int(labels.max()) + 1)
        else:
            saver.save_task_info("link prediction", "mrr")
        saver.get_meta_dict()
    return Path(saver.dataset_dir)


def communities(nodes: int = NODES) -> np.ndarray:
    """Edges int64 [E, 2], in random order: all within either half of the nodes."""
    ends = np.argwhere(np.triu(np.ones((nodes, nodes)), 1)).astype(np.int64)
    same = (ends[:, 0] < nodes // 2) == (ends[:, 1] < nodes // 2)
    return np.random.default_rng(0).permutation(ends[same])


def across(nodes: int = NODES) -> np.ndarray:
    """Pairs int64 [M, 2] of a node of each half."""
    half = nodes // 2
    return np.stack([np.repeat(np.arange(half), half), np.tile(np.arange(half, nodes), half)], 1)


def write_ddi(folder: Path) -> Path:
    """Nodes without features; every false pair is among those that all true ones are ranked in."""
    edges, false = communities(), across()
    train, valid, test = np.split(edges, [len(edges) - 40, len(edges) - 20])
    split = {
        "train": {"edge": train},
        "valid": {"edge": valid, "edge_neg": false[::2]},
        "test": {"edge": test, "edge_neg": false[1::2]},
    }
    graph = {"edge_index": np.concatenate([train, train[:, ::-1]]).T, "num_nodes": NODES}
    return save(folder, "ogbl-ddi", graph, split)


def write_collab(folder: Path) -> Path:
    """As above, with features, years, weights and an edge that is there twice."""
    edges, false = communities(), across()
    train, valid, test = np.split(edges, [len(edges) - 40, len(edges) - 20])
    train = np.concatenate([train, train[:1, ::-1]])
    parts = {"train": train, "valid": valid, "test": test}
    split: dict[str, Any] = {
        name: {"edge": part, "weight": np.ones(len(part)), "year": np.full(len(part), 2019)}
        for name, part in parts.items()
    }
    split["valid"]["edge_neg"], split["test"]["edge_neg"] = false[::2], false[1::2]
    features = np.random.default_rng(1).normal(size=(NODES, 6)).astype(np.float32)
    graph = {"edge_index": train.T, "num_nodes": NODES, "node_feat": features}
    return save(folder, "ogbl-collab", graph, split)


def write_citation(folder: Path) -> Path:
    """Citations, each ranked among targets of its own; nodes have features."""
    edges = communities()
    train, valid, test = np.split(edges, [len(edges) - 40, len(edges) - 20])
    split: dict[str, Any] = {}
    for name, part in {"train": train, "valid": valid, "test": test}.items():
        split[name] = {"source_node": part[:, 0], "target_node": part[:, 1]}
        if name != "train":
            other = (part[:, :1] + NODES // 2 + np.arange(4)) % NODES
            split[name]["target_node_neg"] = other
    features = np.random.default_rng(1).normal(size=(NODES, 6)).astype(np.float32)
    graph = {"edge_index": train.T, "num_nodes": NODES, "node_feat": features}
    return save(folder, "ogbl-citation2", graph, split)


def triples() -> np.ndarray:
    """Triples int64 [T, 3] in random order: relation r leads from v to v + r + 1, in a ring."""
    found = [(v, r, (v + r + 1) % NODES) for v in range(NODES) for r in range(3)]
    return np.random.default_rng(0).permutation(np.array(found, dtype=np.int64))


def write_wikikg(folder: Path) -> Path:
    """A knowledge graph without types, five other ends for each side of a held-out triple."""
    train, valid, test = np.split(triples(), [56, 64])
    split: dict[str, Any] = {}
    for name, part in {"train": train, "valid": valid, "test": test}.items():
        split[name] = dict(zip(("head", "relation", "tail"), part.T.copy(), strict=True))
        if name != "train":
            split[name]["head_neg"] = (part[:, :1] + 5 + np.arange(5)) % NODES
            split[name]["tail_neg"] = (part[:, 2:] + 5 + np.arange(5)) % NODES
    graph = {
        "edge_index": train[:, ::2].T, "edge_reltype": train[:, 1:2], "num_nodes": NODES
    }  # fmt: skip
    return save(folder, "ogbl-wikikg2", graph, split)


def write_biokg(folder: Path) -> Path:
    """Drugs and the diseases they treat; ids count within a type."""
    pairs = np.argwhere(np.ones((TYPES["drug"], TYPES["disease"]))).astype(np.int64)
    pairs = np.random.default_rng(0).permutation(pairs)
    split: dict[str, Any] = {}
    for name, part in zip(("train", "valid", "test"), np.split(pairs, [25, 30]), strict=True):
        split[name] = {
            "head_type": ["drug"] * len(part), "head": part[:, 0],
            "relation": np.zeros(len(part), dtype=np.int64),
            "tail_type": ["disease"] * len(part), "tail": part[:, 1],
        }  # fmt: skip
        if name != "train":
            split[name]["head_neg"] = (part[:, :1] + 1 + np.arange(3)) % TYPES["drug"]
            split[name]["tail_neg"] = (part[:, 1:] + 1 + np.arange(3)) % TYPES["disease"]
    graph = {
        "edge_index_dict": {("drug", "treats", "disease"): pairs[:25].T},
        "num_nodes_dict": TYPES,
        "edge_reltype": {("drug", "treats", "disease"): np.zeros((25, 1), dtype=np.int64)},
    }
    return save(folder, "ogbl-biokg", graph, split)


def write_arxiv(folder: Path, features: bool = True) -> Path:
    """Two communities that are two classes; features say nothing of most nodes' own."""
    edges = communities()
    labels = (np.arange(NODES) >= NODES // 2).astype(np.int64)
    given = np.random.default_rng(1).normal(size=(NODES, 6)).astype(np.float32)
    given[::4, 0] += 8 * labels[::4] - 4
    order = np.random.default_rng(2).permutation(NODES)
    split = dict(zip(("train", "valid", "test"), np.split(order, [8, 16]), strict=True))
    graph = {"edge_index": edges.T, "num_nodes": NODES}
    if features:
        graph["node_feat"] = given
    return save(folder, "ogbn-arxiv", graph, split, labels[:, None])
