"""Readers of OGB's on-disk format, on sets that ogb's own saver wrote."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from relgnn.data import ogb, ogb_export
from relgnn.data.ogb import read_links, read_nodes, read_triples
from relgnn.data.ogb_package import ogb_module
from relgnn.errors import InputError
from tests import ogb_sets


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ogb, "_export_apart", ogb_sets.export_here)


@pytest.fixture(scope="module")
def ddi(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ogb_sets.write_ddi(tmp_path_factory.mktemp("ddi"))


def copy_of(folder: Path, at: Path) -> Path:
    for path in folder.rglob("*"):
        if path.is_file():
            target = at / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    return at


def test_links_come_as_they_were_saved(ddi: Path) -> None:
    before = sorted(ddi.rglob("*"))
    links = read_links("ogbl-ddi", ddi)
    assert links.num_nodes == ogb_sets.NODES
    assert links.features is None
    edges = ogb_sets.communities()
    assert np.array_equal(np.concatenate(list(links.pairs.values())), edges)
    assert np.array_equal(links.negatives["valid"], ogb_sets.across()[::2])
    assert np.array_equal(links.negatives["test"], ogb_sets.across()[1::2])
    assert sorted(ddi.rglob("*")) == before, "the folder is not written to"


def test_features_and_own_negatives(here: None, tmp_path: Path) -> None:
    links = read_links("ogbl-citation2", ogb_sets.write_citation(tmp_path))
    assert links.features is not None and links.features.shape == (ogb_sets.NODES, 6)
    assert links.negatives["test"].shape == (20, 4)
    assert {split: len(part) for split, part in links.pairs.items()} == {
        "train": len(ogb_sets.communities()) - 40, "valid": 20, "test": 20
    }  # fmt: skip
    assert np.array_equal(np.concatenate(list(links.pairs.values())), ogb_sets.communities())


def test_triples_without_types(here: None, tmp_path: Path) -> None:
    graph = read_triples("ogbl-wikikg2", ogb_sets.write_wikikg(tmp_path))
    assert (graph.num_entities, graph.num_relations, graph.types) == (ogb_sets.NODES, 3, None)
    assert np.array_equal(np.concatenate(list(graph.triples.values())), ogb_sets.triples())
    test = graph.triples["test"]
    assert np.array_equal(graph.tail_negatives["test"][:, 0], (test[:, 2] + 5) % ogb_sets.NODES)
    assert np.array_equal(graph.head_negatives["test"][:, 0], (test[:, 0] + 5) % ogb_sets.NODES)


def test_ids_of_types_are_laid_end_to_end(here: None, tmp_path: Path) -> None:
    graph = read_triples("ogbl-biokg", ogb_sets.write_biokg(tmp_path))
    diseases, drugs = ogb_sets.TYPES["disease"], ogb_sets.TYPES["drug"]
    assert graph.num_entities == diseases + drugs
    assert graph.types is not None and graph.types.tolist() == [diseases, drugs]
    everything = np.concatenate(list(graph.triples.values()))
    # drugs come after diseases, in the order of their names
    assert sorted(map(tuple, everything[:, ::2].tolist())) == [
        (diseases + drug, disease) for drug in range(drugs) for disease in range(diseases)
    ]
    for split in ("valid", "test"):
        assert graph.head_negatives[split].min() >= diseases
        assert graph.tail_negatives[split].max() < diseases
        assert not (graph.head_negatives[split] == graph.triples[split][:, :1]).any()


def test_nodes_with_classes(here: None, tmp_path: Path) -> None:
    data = read_nodes("ogbn-arxiv", ogb_sets.write_arxiv(tmp_path))
    assert (data.num_nodes, data.num_classes) == (ogb_sets.NODES, 2)
    assert data.labels.tolist() == [0] * 12 + [1] * 12
    assert np.array_equal(np.sort(np.concatenate(list(data.nodes.values()))), np.arange(24))
    assert np.array_equal(data.edges, ogb_sets.communities())


def test_csv_files_and_a_split_in_parts(here: None, ddi: Path, tmp_path: Path) -> None:
    """As OGB's own archives are, unlike what its saver writes."""
    import pandas as pd

    folder = copy_of(ddi, tmp_path / "ogbl_ddi")
    split = folder / "split" / "random"
    whole = torch.load(split / "split_dict.pt", weights_only=False)
    (split / "split_dict.pt").unlink()
    for name, part in whole.items():
        # protocols of old and of new files; tensors in one of them
        given = {key: torch.from_numpy(value) for key, value in part.items()}
        zipped = name != "train"
        torch.save(
            given if name == "test" else part, split / f"{name}.pt", pickle_protocol=4 if zipped
            else 2, _use_new_zipfile_serialization=zipped,
        )  # fmt: skip
    raw = folder / "raw"
    with np.load(raw / "data.npz") as arrays:
        edges = arrays["edge_index"].T
    (raw / "data.npz").unlink()
    for name, rows in {
        "edge": edges, "num-node-list": [ogb_sets.NODES], "num-edge-list": [len(edges)]
    }.items():  # fmt: skip
        frame = pd.DataFrame(rows)
        frame.to_csv(raw / f"{name}.csv.gz", header=False, index=False, compression="gzip")
    ours, theirs = read_links("ogbl-ddi", folder), read_links("ogbl-ddi", ddi)
    for name in ("train", "valid", "test"):
        assert np.array_equal(ours.pairs[name], theirs.pairs[name])
    assert np.array_equal(ours.negatives["test"], theirs.negatives["test"])
    assert ours.num_nodes == theirs.num_nodes


class Harmful:
    """A pickle of it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused(
    here: None, ddi: Path, tmp_path: Path, zipped: bool
) -> None:
    folder, harm = copy_of(ddi, tmp_path / "copy"), tmp_path / "harm"
    torch.save(
        {"train": Harmful(harm)}, folder / "split" / "random" / "split_dict.pt",
        _use_new_zipfile_serialization=zipped,
    )  # fmt: skip
    with pytest.raises(pickle.UnpicklingError, match=r"holds \w+.open, which is no array"):
        read_links("ogbl-ddi", folder)
    assert not harm.exists()


def test_arrays_pass_the_filter_of_pickles() -> None:
    given = {"a": np.arange(3), "b": [1, "x"], "c": np.float32(2.5)}
    for protocol in (2, 4, 5):
        found = ogb_export.ArraysOnly(io.BytesIO(pickle.dumps(given, protocol))).load()
        assert np.array_equal(found["a"], given["a"]) and found["b"] == given["b"]
        assert found["c"] == 2.5


def changed(ddi: Path, at: Path, split: str, key: str, value: object) -> Path:
    folder = copy_of(ddi, at)
    path = folder / "split" / "random" / "split_dict.pt"
    whole = torch.load(path, weights_only=False)
    if value is None:
        del whole[split][key]
    else:
        whole[split][key] = value
    torch.save(whole, path)
    return folder


def told(folder: Path, words: str, name: str = "ogbl-ddi") -> None:
    with pytest.raises(InputError, match=words) as error:
        read_links(name, folder)
    assert "\n" not in str(error.value)
    assert str(folder) in str(error.value)


def test_what_ogb_cannot_read_is_one_line(ddi: Path, tmp_path: Path) -> None:
    """In the process of its own."""
    folder = copy_of(ddi, tmp_path / "copy")
    torch.save({"train": Harmful(tmp_path)}, folder / "split" / "random" / "split_dict.pt")
    told(folder, r"cannot read it as ogbl-ddi \(holds \w+.open, which is no array\); give")


def test_wrong_files_are_one_line(here: None, ddi: Path, tmp_path: Path) -> None:
    told(tmp_path / "nowhere", "none of data.npz.* is there")
    halves = copy_of(ddi, tmp_path / "halves")
    (halves / "split" / "other").mkdir()
    told(halves, "holds 2 splits, expected one")
    told(changed(ddi, tmp_path / "a", "valid", "edge_neg", None), "split valid has no negatives")
    wrong = np.array([[0, 99]])
    told(changed(ddi, tmp_path / "b", "test", "edge", wrong), "ids from 0 to 99; expected 0 to 23")
    flat = np.arange(4)
    told(changed(ddi, tmp_path / "c", "train", "edge", flat), r"have shape \(4,\); expected \[E, 2")
    three = np.zeros((5, 3), dtype=np.int64)
    told(changed(ddi, tmp_path / "d", "test", "edge_neg", three), "a row for each pair")


def test_wrong_triples_and_nodes_are_one_line(here: None, tmp_path: Path) -> None:
    graph = ogb_sets.write_wikikg(tmp_path / "graph")
    short = np.zeros((2, 5), dtype=np.int64)
    for at, key, value, words in (
        ("a", "tail_neg", short, "expected a row for each of 8 triples"),
        ("b", "head_neg", short[:1].repeat(8, 0) - 1, "head negatives of test have ids from -1"),
        ("c", "head_neg", None, "split test has no head negatives"),
    ):
        with pytest.raises(InputError, match=words):
            read_triples("ogbl-wikikg2", changed(graph, tmp_path / at, "test", key, value))
    bare = ogb_sets.write_arxiv(tmp_path / "nodes", features=False)
    with pytest.raises(InputError, match="nodes have no features; ogbn-arxiv needs"):
        read_nodes("ogbn-arxiv", bare)


def test_ogb_loads_no_graph_library_and_asks_no_network() -> None:
    code = (
        "import sys, threading; from relgnn.data.ogb_package import ogb_module;"
        "ogb_module('ogb.linkproppred');"
        "sys.exit(bool({'torch_geometric', 'dgl', 'outdated'} & sys.modules.keys())"
        " or threading.active_count() > 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_ogb_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ogb.linkproppred", None)
    with pytest.raises(InputError, match=r'pip install "relgnn\[ogb\]"'):
        ogb_module("ogb.linkproppred")
