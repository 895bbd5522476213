"""What a system is given: files of one draw of a fraction of a graph."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from relgnn.config.base import DataConfig
from relgnn.data import STRATA, KnowledgeGraph
from relgnn.data.registry import load_graph
from relgnn.errors import InputError
from relgnn.text.evidence import find_evidence
from relgnn.text.linking import KINDS
from relgnn.training import load_json, save_json
from relgnn.training.checkpoint import atomic_file, save_text

MANIFEST = "manifest.json"
README = """\
# {name} at {percent} %, draw {seed}: complete the graph from its texts

| file | content |
|---|---|
| `given.tsv`, `valid.tsv` | triples to learn from and to select by: head, relation, tail ({given} and {valid}) |
| `entities.tsv`, `relations.tsv` | id, name, description |
| `types.tsv` | entity, type id, where the data set has types |
| `sentences.jsonl.gz` | the unlabelled corpus: id, text, entity whose page it is |
| `candidates.tsv.gz` | pairs that our linker finds in a sentence: head, tail, sentence id, how surely the tail is named; use it or link for yourself |
| `test.tsv` | the {test} triples whose ends are asked for, and the stratum of each; read once, at the end |
| `hidden.tsv` | triples that the draw hid; they are left out of the candidates when test is ranked, and used for nothing else |
| `manifest.json` | sizes and checksums |

Rank every test triple's head and tail among all entities, leaving out the other answers that are given, valid, hidden or test triples, and give ties the mean
of the best and the worst rank (realistic). Score with `python -m experiments.loop_benchmark score FOLDER --ranks FILE`, where FILE is a TSV with the header
head, relation, tail, side, rank_optimistic, rank_pessimistic, candidates; triples that were read in the texts with `--triples FILE` (head, relation, tail).

Rules: valid selects, test is read once; a sentence may state a test triple, and reading it is the task, so results come by stratum (`feature`: stated in a name,
description or first sentence; `corpus`: in another sentence; `none`: nowhere).
"""  # noqa: E501


def make(data: str, fraction: float, seed: int, folder: Path) -> KnowledgeGraph:
    """Write a task.

    Args:
        data: a named data set with texts.
        fraction, seed: which triples are given.
        folder: made here; must be empty.

    Returns:
        The graph, cut to the fraction.

    Raises:
        InputError: the data set is nowhere, has no texts or no such fraction; the folder is in use.
        MachineError: a file cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; give another --out")
    graph = load_graph(DataConfig(name=data, fraction=fraction, split_seed=seed))
    if not graph.texts:
        raise InputError(f"{data}: has no texts to read; give a data set with some, as codex_s")
    files = {
        "given.tsv": _named(graph, graph.train),
        "valid.tsv": _named(graph, graph.valid),
        "entities.tsv": zip(
            graph.entities, graph.entity_names, graph.entity_descriptions, strict=True
        ),
        "relations.tsv": zip(
            graph.relations, graph.relation_names, graph.relation_descriptions, strict=True
        ),
        "types.tsv": (
            (entity, kind)
            for entity, kinds in zip(graph.entities, graph.types, strict=True)
            for kind in kinds
        ),
        "test.tsv": _with_stratum(graph),
        "hidden.tsv": _named(graph, graph.hidden),
        "candidates.tsv.gz": _candidates(graph),
    }
    sums = {name: _write(folder / name, map("\t".join, rows)) for name, rows in files.items()}
    sums["sentences.jsonl.gz"] = _write(
        folder / "sentences.jsonl.gz",
        (
            json.dumps(
                {
                    "id": one.id,
                    "text": one.text,
                    "entity": None if one.entity is None else graph.entities[one.entity],
                },
                ensure_ascii=False,
            )
            for one in graph.sentences()
        ),
    )
    sizes = {"given": len(graph.train), "valid": len(graph.valid), "test": len(graph.test)}
    text = README.format(name=data, percent=f"{100 * fraction:g}", seed=seed, **sizes)
    save_text(folder / "README.md", text)
    save_json(
        folder / MANIFEST,
        {"data": data, "fraction": fraction, "seed": seed, "checksum": graph.checksum,
         **sizes, "sha256": sums},
    )  # fmt: skip
    return graph


def open_task(folder: Path) -> KnowledgeGraph:
    """The graph that a task was made of, with its test triples.

    Raises:
        InputError: it is no task, a file was changed, or the data set is not the one it was.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise InputError(f"{folder}: is no task (it has no {MANIFEST}); make one with `make`")
    manifest = load_json(path)
    for name, expected in manifest["sha256"].items():
        file = folder / name
        if not file.is_file() or hashlib.sha256(_content(file)).hexdigest() != expected:
            raise InputError(f"{file}: is missing or was changed; make the task again")
    graph = load_graph(
        DataConfig(
            name=manifest["data"], fraction=manifest["fraction"], split_seed=manifest["seed"]
        )
    )
    if graph.checksum != manifest["checksum"]:
        raise InputError(f"{folder}: was made of other data; make the task again")
    return graph


def _named(graph: KnowledgeGraph, triples: np.ndarray) -> Iterable[Sequence[str]]:
    return map(graph.ids, triples.tolist())


def _with_stratum(graph: KnowledgeGraph) -> Iterable[Sequence[str]]:
    codes = graph.strata["test"].tolist() if graph.strata is not None else [-1] * len(graph.test)
    for triple, code in zip(_named(graph, graph.test), codes, strict=True):
        yield *triple, STRATA[code] if code >= 0 else ""


def _candidates(graph: KnowledgeGraph) -> Iterable[Sequence[str]]:
    found = find_evidence(graph, graph.sentences())
    columns = (found.head, found.tail, found.sentence, found.kind)
    for head, tail, sentence, kind in zip(*(x.tolist() for x in columns), strict=True):
        yield graph.entities[head], graph.entities[tail], str(sentence), KINDS[kind]


def _write(path: Path, lines: Iterable[str]) -> str:
    """Write lines, gzipped where the name says so, and return the sha256 of the content."""
    content = "".join(line + "\n" for line in lines).encode()
    packed = content
    if path.suffix == ".gz":
        buffer = io.BytesIO()
        # without a time, so that the same content gives the same file
        with gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0) as handle:
            handle.write(content)
        packed = buffer.getvalue()
    with atomic_file(path) as temporary:
        temporary.write_bytes(packed)
    return hashlib.sha256(content).hexdigest()


def _content(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.suffix == ".gz" else data
