"""One data set of OGB as plain arrays; runs in a process of its own.

    python -m relgnn.data.ogb_export NAME FOLDER OUT.npz

OGB keeps splits as pickles, which may run code when they are read. Here ogb's own classes read
them, but only numbers, texts, lists and arrays get through, and what they say goes into a file that
cannot run anything. The folder is not written to: ogb sees its files through links.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from relgnn.data.ogb_package import ogb_module

_ALLOWED = {
    *((f"numpy.{core}.{module}", name) for core in ("core", "_core") for module, name in
      (("multiarray", "_reconstruct"), ("multiarray", "scalar"), ("numeric", "_frombuffer"))),
    ("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode"),
    ("collections", "OrderedDict"), ("torch._utils", "_rebuild_tensor_v2"),
}  # fmt: skip

Arrays = dict[str, np.ndarray]


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of numbers, texts, lists, dictionaries, NumPy arrays and tensors alone."""

    def find_class(self, module: str, name: str) -> Any:
        storage = module == "torch" and name.endswith("Storage")
        if (module, name) in _ALLOWED or storage:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"holds {module}.{name}, which is no array")


def _load(file: Any, **settings: Any) -> Any:
    return ArraysOnly(file, **settings).load()


@contextlib.contextmanager
def arrays_only() -> Iterator[None]:
    """Within it `torch.load`, as ogb calls it, reads pickles with `ArraysOnly`."""
    plain = torch.load
    reader = SimpleNamespace(Unpickler=ArraysOnly, load=_load, __name__=__name__)
    torch.load = partial(plain, pickle_module=reader, weights_only=False)
    try:
        yield
    finally:
        torch.load = plain


def export(name: str, folder: Path) -> Arrays:
    """Everything of a data set that a run needs.

    Args:
        name: OGB's, such as "ogbl-ddi".
        folder: in OGB's on-disk format, of CSV or of NumPy files.

    Returns:
        `num_nodes`, `features` where there are some, and by the kind of data set what
        `relgnn.data.ogb` says of it, named `split/field`.
    """
    package = ogb_module("ogb.nodeproppred" if name.startswith("ogbn") else "ogb.linkproppred")
    of_nodes = name.startswith("ogbn")
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with tempfile.TemporaryDirectory() as copy, arrays_only(), quiet[0], quiet[1]:
        for part in folder.iterdir():
            if part.name != "processed":
                (Path(copy) / part.name).symlink_to(part.resolve())
        (Path(copy) / "processed").mkdir()
        meta = _meta(Path(str(package.__file__)).parent, name, Path(copy))
        read = package.NodePropPredDataset if of_nodes else package.LinkPropPredDataset
        dataset = read(name, meta_dict=meta)
        split = dataset.get_idx_split() if of_nodes else dataset.get_edge_split()
    if of_nodes:
        graph, labels = dataset[0]
        return _nodes(graph, labels, split)
    if meta["task type"] == "KG completion":
        return _triples(dataset[0], split)
    return _links(dataset[0], split)


def _meta(package: Path, name: str, folder: Path) -> dict[str, Any]:
    """What ogb knows of the data set, with where and how it lies on disk here."""
    import pandas as pd

    master = pd.read_csv(package / "master.csv", index_col=0, keep_default_na=False)
    found = dict(master[name])
    [split] = sorted((folder / "split").iterdir())
    raw = folder / "raw"
    binary = (raw / "data.npz").exists() or (raw / "edge_index_dict.npz").exists()
    found |= {"dir_path": str(folder), "split": split.name, "binary": str(binary)}
    if binary:
        found["add_inverse_edge"] = "False"
    return found


def _links(graph: Mapping[str, Any], split: Mapping[str, Mapping[str, Any]]) -> Arrays:
    found = _graph(graph)
    for part, fields in _parts_with("edge", "source_node", split):
        if "edge" in fields:
            found[f"{part}/pairs"] = _array(fields["edge"])
        else:
            ends = [_array(fields[end]) for end in ("source_node", "target_node")]
            found[f"{part}/pairs"] = np.stack(ends, 1)
        for key in ("edge_neg", "target_node_neg"):
            if key in fields:
                found[f"{part}/negatives"] = _compact(fields[key])
    return found


def _triples(graph: Mapping[str, Any], split: Mapping[str, Mapping[str, Any]]) -> Arrays:
    """Ids that count within a type of entities become ids over all, type after type."""
    sizes = graph.get("num_nodes_dict")
    offset: Callable[[Any], Any] = lambda _: 0  # noqa: E731
    found: Arrays = {}
    if sizes is None:
        found["num_nodes"] = np.array(int(graph["num_nodes"]))
    else:
        names = sorted(sizes)
        counts = np.array([int(sizes[name]) for name in names])
        start = dict(zip(names, (counts.cumsum() - counts).tolist(), strict=True))
        offset = lambda kinds: np.array([start[kind] for kind in kinds])  # noqa: E731
        found |= {"num_nodes": counts.sum(), "types": counts}
    for part, fields in _parts_with("head", "head", split):
        shift = {end: offset(fields.get(f"{end}_type")) for end in ("head", "tail")}
        columns = [_array(fields["head"]) + shift["head"], _array(fields["relation"]),
                   _array(fields["tail"]) + shift["tail"]]  # fmt: skip
        found[f"{part}/triples"] = np.stack(columns, 1)
        for end in ("head", "tail"):
            if f"{end}_neg" in fields:
                own = shift[end] if sizes is None else shift[end][:, None]
                found[f"{part}/{end}_negatives"] = _compact(_array(fields[f"{end}_neg"]) + own)
    return found


def _nodes(graph: Mapping[str, Any], labels: np.ndarray, split: Mapping[str, Any]) -> Arrays:
    found = _graph(graph) | {"edges": graph["edge_index"].T, "labels": labels[:, 0]}
    return found | {f"{part}/nodes": _array(rows) for part, rows in split.items()}


def _parts_with(
    one: str, other: str, split: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The parts that are of the kind that is read; the reader of arrays tells what is missing."""
    for part, fields in split.items():
        if isinstance(fields, Mapping) and (one in fields or other in fields):
            yield part, fields


def _graph(graph: Mapping[str, Any]) -> Arrays:
    found = {"num_nodes": np.array(int(graph["num_nodes"]))}
    if graph.get("node_feat") is not None:
        found["features"] = np.asarray(graph["node_feat"], np.float32)
    return found


def _compact(ids: Any) -> np.ndarray:
    """Ids in half the memory: the negatives of ogbl-wikikg2 would take 8 GB."""
    found = _array(ids)
    fits = not found.size or np.abs(found).max() <= np.iinfo(np.int32).max
    return found.astype(np.int32) if fits else found


def _array(values: Any) -> np.ndarray:
    return np.asarray(values).astype(np.int64, copy=False)


def main() -> None:
    """Export what the command line names; a failure ends as one line on standard error."""
    name, folder, out = sys.argv[1:]
    try:
        np.savez(out, **dict[str, Any](export(name, Path(folder))))
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SystemExit(reason) from None


if __name__ == "__main__":
    main()
